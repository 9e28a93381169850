"use client";

import dynamic from "next/dynamic";

// qlik-embed needs a window as soon as it is imported.
export const Dashboard = dynamic(() => import("./embed.js"), { ssr: false });
