// Drives a community tester as its users do. Arguments: folder it is installed in, its name, deployment id, where the server is.
// Over TLS the client's own URL is used as it is; for a plain server it gets the factory of WebSockets that its constructor takes.
const { createRequire } = require('node:module');
const path = require('node:path');

const [folder, name, deploymentId, server] = process.argv.slice(2);
const load = createRequire(path.join(folder, 'package.json'));
const { Conversation, ReorderedMessageDelayer, WebMessengerGuestSession } = load(name);
const { WebSocket } = load('ws');

const plain = server.startsWith('ws://');
const region = plain ? 'example.invalid' : `tester@${server.replace('wss://', '')}`;
const factory = (url, options) => new WebSocket(server + new URL(url).pathname + new URL(url).search, options);
const config = { deploymentId, region, origin: 'https://shop.example' };
const attributes = { orderId: '4711' };
const session = plain
  ? new WebMessengerGuestSession(config, attributes, new ReorderedMessageDelayer(200, 50), factory)
  : new WebMessengerGuestSession(config, attributes);
const bodies = [];
session.on('structuredMessage', (event) => bodies.push(event.body));

async function main() {
  const conversation = new Conversation(session);
  await conversation.waitForConversationToStart();
  const answer = conversation.waitForResponseWithTextContaining('re 1]');
  await conversation.sendText('Where is my parcel? [#real.tester.g.1]', 0);
  const text = await answer;
  const more = conversation.waitForResponseWithTextContaining('re 2]');
  await conversation.sendText('Thanks. [#real.tester.g.2]', 0);
  await more;
  let disconnected = false;
  if (conversation.waitForConversationToClose) {
    disconnected = await conversation.waitForConversationToClose(5000).then(() => true, () => false);
  }
  session.close();
  console.log(JSON.stringify({ text, disconnected, bodies }));
}

main().then(() => process.exit(0), (error) => {
  console.error(error);
  process.exit(1);
});
