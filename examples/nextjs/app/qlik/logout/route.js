import { relay, refusal } from "../../../lib/broker.js";
import { currentUser, logOut } from "../../../lib/session.js";

export async function POST(request) {
  const user = await currentUser();
  const refused = refusal(request, user);
  if (refused) return refused;
  await logOut(); // first here, so that no page gets a token in between
  return relay("/logout", { user });
}
