import react from "@vitejs/plugin-react";
import { defineConfig, loadEnv } from "vite";
import { portal } from "./portal.js";

export default defineConfig(({ mode }) => {
  const { PORT } = loadEnv(mode, ".", "");
  const listen = { host: "127.0.0.1", port: Number(PORT), strictPort: true };
  return { plugins: [react(), portal()], server: listen, preview: listen };
});
