import { createTokenSource } from "/client.js";

const element = (id) => document.getElementById(id);

const source = createTokenSource({
  broker: `${location.origin}/qlik`,
  credentials: "same-origin",
  onSessionEnd: () => location.assign("/"),
  onError: ({ code, retryAt }) => {
    element("notice").textContent = `No data at the moment (${code}), next try at ${new Date(retryAt).toLocaleTimeString()}`;
  },
});

// For qlik-embed, which looks it up by this name.
window.getAccessToken = async () => {
  const token = await source.getAccessToken();
  element("notice").textContent = "";
  return token;
};

element("logout").onclick = () => source.logout().catch(() => {}).then(() => location.assign("/"));

element("other").onclick = () => {
  const embed = document.querySelector("qlik-embed");
  const other = embed.getAttribute("object-id") === "sheet-1" ? "sheet-2" : "sheet-1";
  embed.setAttribute("object-id", other);
};
