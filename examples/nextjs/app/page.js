import { currentUser, logIn } from "../lib/session.js";
import { Dashboard } from "./dashboard.js";

export default async function Page() {
  if (await currentUser()) {
    return <Dashboard host={process.env.QLIK_HOST} clientId={process.env.QLIK_CLIENT_ID} />;
  }
  return (
    <form action={logIn}>
      <label>
        User <input name="user" defaultValue="ann" required />
      </label>
      <button>Log in</button>
    </form>
  );
}
