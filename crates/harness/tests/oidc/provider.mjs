// A certified OpenID provider on loopback with fixed accounts, for the sign-in tests. Whoever comes is
// signed in as the account named last at /_as/NAME; there is no password to type. Prints its issuer.
import http from 'node:http';
import Provider from 'oidc-provider';

const groups = { mira: ['finance-team', 'everybody'], lars: ['everybody'], nobody: [] };
let current = 'mira';

const server = http.createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [{
      client_id: 'harness',
      client_secret: process.argv[2],
      // A native client may come back to any port of this machine.
      application_type: 'native',
      redirect_uris: ['http://127.0.0.1/sign-in/callback'],
      response_types: ['code'],
      grant_types: ['authorization_code'],
      token_endpoint_auth_method: 'client_secret_basic',
    }],
    claims: { openid: ['sub'], profile: ['name', 'groups'] },
    // `tokens`: groups stand in the identity token; else they must be asked for.
    conformIdTokenClaims: process.argv[3] !== 'tokens',
    findAccount: async (_, id) => ({
      accountId: id,
      claims: async () => ({ sub: id, name: `${id} <at work>`, groups: groups[id] ?? [] }),
    }),
    // What clients of MCP are let in to: tokens made for one address, with groups in them.
    scopes: ['openid', 'offline_access', 'profile', 'harness:call'],
    extraTokenClaims: async (_, token) => ({ groups: groups[token.accountId] ?? [] }),
    features: {
      devInteractions: { enabled: false },
      registration: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: async () => undefined,
        useGrantedResource: async () => true,
        getResourceServerInfo: async (_, resource) => ({
          scope: 'harness:call', audience: resource, accessTokenTTL: 300, accessTokenFormat: 'jwt', jwt: { sign: { alg: 'RS256' } },
        }),
      },
    },
    interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
    pkce: { required: () => true },
    cookies: { keys: ['a key of the tests'] },
  });
  const oidc = provider.callback();
  const interact = async (request, response) => {
    const { prompt, params, session } = await provider.interactionDetails(request, response);
    if (prompt.name === 'login') {
      return provider.interactionFinished(request, response, { login: { accountId: current } });
    }
    const grant = new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
    grant.addOIDCScope(params.scope);
    if (params.resource) grant.addResourceScope(params.resource, params.scope);
    const consent = { grantId: await grant.save() };
    return provider.interactionFinished(request, response, { consent }, { mergeWithLastSubmission: true });
  };
  server.on('request', (request, response) => {
    if (request.url.startsWith('/_as/')) {
      current = request.url.slice(5);
      response.end('ok');
    } else if (request.url.startsWith('/interaction/')) {
      interact(request, response).catch((error) => { response.statusCode = 500; response.end(String(error)); });
    } else {
      oidc(request, response);
    }
  });
  console.log(issuer);
});
