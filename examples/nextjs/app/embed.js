"use client";

import { QlikEmbed, QlikEmbedConfig } from "@qlik/embed-react";
import { createTokenSource } from "qlik-token-broker-client";
import { useMemo, useState } from "react";

export default function Embed({ host, clientId }) {
  const [sheet, setSheet] = useState("sheet-1");
  const [trouble, setTrouble] = useState();

  // One host config for as long as this is shown: another one would mount the embeds anew.
  const source = useMemo(
    () =>
      createTokenSource({
        broker: `${location.origin}/qlik`, // the route handlers in app/qlik
        credentials: "same-origin",
        onSessionEnd: () => location.assign("/"),
        onError: setTrouble,
      }),
    [],
  );
  const hostConfig = useMemo(() => {
    const getAccessToken = async () => {
      const token = await source.getAccessToken();
      setTrouble(undefined);
      return token;
    };
    return { host, clientId, authType: "oauth2", getAccessToken };
  }, [host, clientId, source]);

  const logOut = () => source.logout().catch(() => {}).then(() => location.assign("/"));

  return (
    <QlikEmbedConfig.Provider value={hostConfig}>
      <button id="other" onClick={() => setSheet(sheet === "sheet-1" ? "sheet-2" : "sheet-1")}>Other sheet</button>
      <button id="logout" onClick={logOut}>Log out</button>
      {trouble && <p role="status">No data at the moment ({trouble.code}), next try at {new Date(trouble.retryAt).toLocaleTimeString()}</p>}
      <QlikEmbed ui="analytics/sheet" appId="app" objectId={sheet} />
    </QlikEmbedConfig.Provider>
  );
}
