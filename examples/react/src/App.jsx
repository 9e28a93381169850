import { users } from "@qlik/api";
import { useEffect, useState } from "react";
import { logOut, onTrouble } from "./tokens.js";

export function App() {
  const [asked, setAsked] = useState(1);
  const [user, setUser] = useState();
  const [trouble, setTrouble] = useState();

  useEffect(() => onTrouble(setTrouble), []);

  useEffect(() => {
    let current = true;
    // Without noCache, @qlik/api answers from its memory for ten minutes.
    users.getMyUser({ noCache: true }).then(
      ({ data }) => {
        if (!current) return;
        setTrouble(undefined);
        setUser(data);
      },
      (error) => console.error("Qlik did not answer:", error),
    );
    return () => {
      current = false;
    };
  }, [asked]);

  return (
    <>
      <button id="other" onClick={() => setAsked(asked + 1)}>Ask again</button>
      <button id="logout" onClick={logOut}>Log out</button>
      {trouble && <p role="status">No data at the moment ({trouble.code}), next try at {new Date(trouble.retryAt).toLocaleTimeString()}</p>}
      {user && <p id="user">Qlik knows you as {user.name} ({user.subject})</p>}
    </>
  );
}
