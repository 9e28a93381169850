import { relay, refusal } from "../../../lib/broker.js";
import { currentUser } from "../../../lib/session.js";

export async function POST(request) {
  const user = await currentUser();
  const refused = refusal(request, user);
  if (refused) return refused;
  const { rejected } = await request.json().catch(() => ({})); // mostly there is no body
  return relay("/session-token", { user, rejected });
}
