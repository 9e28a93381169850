import { createTokenSource } from "qlik-token-broker-client";

const listeners = new Set();

/** One for the page. The browser sends the portal's cookie to the broker. */
export const source = createTokenSource({
  broker: import.meta.env.VITE_BROKER_URL,
  credentials: "include",
  onSessionEnd: () => location.assign("/"),
  onError: (error) => listeners.forEach((listener) => listener(error)),
});

/** Calls `listener` whenever a try fails and another one comes; gives what ends that. */
export function onTrouble(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Ends the session at the broker, which revokes the token, and then at the portal. */
export async function logOut() {
  await source.logout().catch(() => {});
  await fetch("/logout", { method: "POST" });
  location.assign("/");
}
