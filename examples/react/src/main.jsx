import { auth } from "@qlik/api";
import { createRoot } from "react-dom/client";
import { App } from "./App.jsx";
import { source } from "./tokens.js";

// Once, before the first call.
auth.setDefaultHostConfig({
  host: import.meta.env.VITE_QLIK_HOST,
  authType: "oauth2",
  clientId: import.meta.env.VITE_QLIK_CLIENT_ID,
  getAccessToken: source.getAccessToken,
});

createRoot(document.getElementById("root")).render(<App />);
