// In the place of what a tenant serves at `/qlik-embed/main.js`: in a browser, @qlik/api loads its own
// inner parts from there. The package carries them, too, as Node uses them from it.

import * as auth from "./node_modules/@qlik/api/chunks/auth-B-dVJJjy.js";
import * as invokeFetch from "./node_modules/@qlik/api/chunks/invoke-fetch-D1eDS94Z.js";

const parts = { "auth@v1": auth, "invoke-fetch@v1": invokeFetch };

window.QlikMain = {
  import: async (name) => parts[name],
  resourceNeedsCredentials: () => false,
  INTERNAL__DO_NOT_USE: {},
};
