// Plays a client of ACME with acme-client:
//   node main.mjs DIRECTORY issue CHALLENGE NAME... | revoke | change-key
import { readFileSync, existsSync, writeFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { join } from 'node:path';
import { createServer } from 'node:tls';
import acme from 'acme-client';

// it would wait as long as Retry-After says: a day, for a quota
acme.axios.defaults.acmeSettings.retryMaxAttempts = 0;

const [directory, act, challengeType, ...names] = process.argv.slice(2);
const { ACME_DIRECTORY, ACME_KID, ACME_HMAC, ACME_CONTROL, ACME_TLS_LISTEN } = process.env;
const at = (name) => join(directory, name);

const present = async (kind, name, value) => {
  const answer = await fetch(`${ACME_CONTROL}/${kind}/${name}`, { method: 'PUT', body: value });
  if (!answer.ok) throw new Error(`${kind} ${name}: ${answer.status}`);
};

async function clientOf() {
  const known = existsSync(at('account.json'));
  const kept = known
    ? JSON.parse(readFileSync(at('account.json'), 'utf8'))
    : { key: (await acme.crypto.createPrivateEcdsaKey()).toString() };
  const client = new acme.Client({
    directoryUrl: ACME_DIRECTORY,
    accountKey: kept.key,
    ...(kept.url === undefined ? {} : { accountUrl: kept.url }),
    backoffAttempts: 20,
    backoffMin: 200,
    backoffMax: 1000,
    externalAccountBinding: { kid: ACME_KID, hmacKey: ACME_HMAC },
  });
  if (!known)
    await client.createAccount({
      termsOfServiceAgreed: true,
      contact: ['mailto:ops@example.org'],
    });
  writeFileSync(at('account.json'), JSON.stringify({ ...kept, url: client.getAccountUrl() }));
  return client;
}

/** Of one identifier: an IP address has its own CSR, which createCsr makes of the names. */
async function issue() {
  const client = await clientOf();
  const order = await client.createOrder({
    identifiers: names.map((value) => ({ type: isIP(value) === 0 ? 'dns' : 'ip', value })),
  });
  const servers = [];
  for (const authorization of await client.getAuthorizations(order)) {
    if (authorization.status === 'valid') continue;
    const challenge = authorization.challenges.find(({ type }) => type === challengeType);
    if (challenge === undefined) throw new Error(`${challengeType} is not offered`);
    const answer = await client.getChallengeKeyAuthorization(challenge);
    const name = authorization.identifier.value;
    if (challengeType === 'http-01') await present('http', challenge.token, answer);
    else if (challengeType === 'dns-01') await present('dns', `_acme-challenge.${name}`, answer);
    else servers.push(await tlsServer(authorization, answer));
    await client.completeChallenge(challenge);
    await client.waitForValidStatus(challenge);
  }
  const [key, csr] = await acme.crypto.createCsr({ commonName: '', altNames: names });
  const finalized = await client.finalizeOrder(order, csr);
  writeFileSync(at('cert.pem'), await client.getCertificate(finalized));
  writeFileSync(at('key.pem'), key);
  for (const server of servers) server.close();
}

async function tlsServer(authorization, answer) {
  const [key, cert] = await acme.crypto.createAlpnCertificate(authorization, answer);
  const server = createServer({ key, cert, ALPNProtocols: ['acme-tls/1'] });
  server.on('tlsClientError', () => {});
  const [host, port] = ACME_TLS_LISTEN.split(':');
  await new Promise((resolve) => server.listen(Number(port), host, resolve));
  return server;
}

async function changeKey() {
  const client = await clientOf();
  const key = (await acme.crypto.createPrivateEcdsaKey()).toString();
  await client.updateAccountKey(key);
  writeFileSync(at('account.json'), JSON.stringify({ key, url: client.getAccountUrl() }));
}

const acts = {
  issue,
  'change-key': changeKey,
  revoke: async () => (await clientOf()).revokeCertificate(readFileSync(at('cert.pem'))),
};
await acts[act]();
