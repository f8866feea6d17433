// The vendor's JavaScript SDK, told of a gateway before it: signs in, lists queues, finds the conversation of a message, reads a history.
// Arguments: folder it is installed in, port, client id, client secret, message id, JWT for the history.
const { createRequire } = require('node:module');
const path = require('node:path');

const [folder, port, id, secret, message, jwt] = process.argv.slice(2);
const platform = createRequire(path.join(folder, 'package.json'))('purecloud-platform-client-v2');
const client = platform.ApiClient.instance;
client.setGateway({ host: '127.0.0.1', protocol: 'http', port, path_params_login: '', path_params_api: '' });

async function main() {
  await client.loginClientCredentialsGrant(id, secret);
  const queues = await new platform.RoutingApi().getRoutingQueues({ pageSize: 25 });
  const details = await new platform.ConversationsApi().getConversationsMessageDetails(message);
  client.setAccessToken(jwt);
  const history = await new platform.WebMessagingApi().getWebmessagingMessages({ pageSize: 25, pageNumber: 1 });
  console.log(JSON.stringify({ queues, details, history }));
}

main().then(() => process.exit(0), (error) => {
  console.error(error);
  process.exit(1);
});
