// In the place of the runtime that a tenant serves to qlik-embed and to @qlik/api in browsers. With
// tokens it does what that does; in the place of a chart it names whom the tenant takes the page for.
"use strict";
(() => {
  const hosts = new Map(); // by their names
  let usual = {};
  const tokens = new Map();
  let last = Promise.resolve();

  function hostOf(config) {
    const found = (config?.authType === "reference" ? hosts.get(config.reference) : config) ?? usual;
    if (!/^oauth2$/i.test(found.authType)) throw new Error('the stand-in knows the authType "oauth2" only');
    if (!found.host || !found.clientId) throw new Error("the host config has no host, or no client id");
    return found;
  }

  // No user is in it, as in Qlik's code.
  const shelf = ({ clientId, scope = "user_default" }) => `${clientId}_${scope}`;

  /** The token, from the page's callback if there is none. Also as in Qlik's code: one call at a time,
   * and once one has failed, all that follow fail without a call, until the page is loaded again. */
  function tokenOf(host) {
    last = last.then(async () => {
      if (!tokens.has(shelf(host))) {
        const { getAccessToken: given } = host;
        try {
          tokens.set(shelf(host), await (typeof given === "string" ? window[given] : given)());
        } catch {
          throw new Error("Could not fetch access token using custom function");
        }
      }
      return tokens.get(shelf(host));
    });
    return last;
  }

  async function call(host, path, { headers, ...init } = {}, again = true) {
    const base = /^https?:/i.test(host.host) ? host.host : `https://${host.host}`;
    const shown = { ...headers, Authorization: `Bearer ${await tokenOf(host)}` };
    const answer = await fetch(base.replace(/\/*$/, path), { ...init, headers: shown, credentials: "omit" });
    if (answer.status !== 401 || !again) return answer;
    tokens.delete(shelf(host));
    return call(host, path, { headers, ...init }, false);
  }

  async function whoAmI(config) {
    const answer = await call(hostOf(config), "/api/v1/users/me");
    if (!answer.ok) throw new Error(`users/me: ${answer.status}`);
    const { name, subject } = await answer.json();
    return `${name} (${subject})`;
  }

  function mountVanillaEmbedComponent({ target, props }) {
    const box = document.createElement("div");
    target.append(box);
    let drawn;
    const $set = async (props) => {
      const wanted = JSON.stringify(props);
      if (wanted === drawn) return;
      drawn = wanted;
      box.textContent = "";
      try {
        const user = await whoAmI(props.hostConfig);
        const place = [props.ui, props.appId, props.objectId].filter(Boolean).join(" ");
        if (wanted === drawn) box.textContent = `${place} for ${user}`;
      } catch (error) {
        console.error("qlik-embed stays blank:", error);
      }
    };
    $set(props);
    return { $set, $destroy: () => box.remove() };
  }

  async function invokeFetch(api, { method, pathTemplate, pathVariables = {}, query = {}, body, options = {} }) {
    const path = pathTemplate.replace(/\{([\w-]+)\}/g, (_, name) => encodeURIComponent(pathVariables[name]));
    const search = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== undefined));
    const init = { method: method.toUpperCase(), headers: { "Content-Type": "application/json" }, body: body && JSON.stringify(body) };
    const answer = await call(hostOf(options.hostConfig), search.size ? `${path}?${search}` : path, init);
    const { status, headers } = answer;
    const data = await answer.json().catch(() => undefined);
    if (answer.ok) return { status, headers, data };
    throw Object.assign(new Error(`${api}: ${status}`), { status, headers, data });
  }

  const modules = {
    "embed-vanilla@v1": { mountVanillaEmbedComponent },
    "auth@v1": {
      setDefaultHostConfig: (config) => void (usual = config),
      registerHostConfig: (name, config) => void hosts.set(name, config),
      unregisterHostConfig: (name) => void hosts.delete(name),
      getAccessToken: ({ hostConfig }) => tokenOf(hostOf(hostConfig)),
    },
    "invoke-fetch@v1": { invokeFetch, clearApiCache() {} },
  };
  window.QlikMain = {
    async import(name) {
      if (modules[name]) return modules[name];
      throw new Error(`the simulated tenant has no ${name}`);
    },
  };
})();
