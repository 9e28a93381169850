// Stands for the login that your portal has (Auth.js, say): whoever gives a name is that person.
import "server-only";
import { createHmac, timingSafeEqual } from "node:crypto";
import { cookies } from "next/headers";

const COOKIE = "portal_session";

const sign = (user) => createHmac("sha256", process.env.SESSION_SECRET).update(user).digest("base64url");

export async function currentUser() {
  const value = (await cookies()).get(COOKIE)?.value ?? "";
  const at = value.lastIndexOf(".");
  const [user, signature] = [value.slice(0, at), value.slice(at + 1)].map((part) => Buffer.from(part));
  const right = Buffer.from(sign(user));
  return at > 0 && signature.length === right.length && timingSafeEqual(signature, right) ? String(user) : null;
}

export async function logIn(form) {
  "use server";
  const user = String(form.get("user"));
  // Browsers also take Secure at http://localhost; Safari does not.
  (await cookies()).set(COOKIE, `${user}.${sign(user)}`, { httpOnly: true, sameSite: "lax", secure: true });
}

export const logOut = async () => (await cookies()).delete(COOKIE);
