import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { HttpRequest } from '../../../../../src/server/http/plugin.ts';
import { acmePlugin } from '../../../../../src/server/http/plugins/acme/index.ts';
import { Acme, type AcmeDependencies } from '../../../../../src/services/acme/acme.ts';
import { refuse } from '../../../../../src/services/acme/problem.ts';
import { AcmeUrls } from '../../../../../src/services/acme/urls.ts';

const urls = new AcmeUrls('https://ca.test');

/** `allowed`: so many requests of an address without an account. */
function world(allowed: number) {
  const asked: string[] = [];
  const observed: string[] = [];
  const counted: string[] = [];
  let exchanges = 0;
  const dependencies: Partial<AcmeDependencies> = {
    nonces: { issue: () => 'nonce' },
    limits: {
      anonymous: (client) => {
        asked.push(client);
        if (asked.length > allowed) refuse('rateLimited', 'too many', { code: 'RATE_LIMITED' });
      },
      newAccount: () => {},
      text: () => '',
    },
    refusals: {
      refusedAs: () => Promise.resolve(''),
      count: (operation, code) => void counted.push(`${operation} ${code}`),
    },
    urls,
    observe: (resource, result) => void observed.push(`${resource} ${result}`),
  };
  const acme = new Acme(dependencies as AcmeDependencies);
  const plugin = acmePlugin({
    urls,
    present: () => acme,
    exchange: () => {
      exchanges += 1;
      return Promise.resolve({ ok: true, answer: { status: 200, body: { json: {} } } });
    },
  });
  const route = plugin.routes.find(({ path }) => path === '/acme/exchange');
  const exchange = async (): Promise<number> => {
    const request = { headers: {}, body: Buffer.alloc(0), client: '192.0.2.1' };
    const answer = await route?.handle(request as unknown as HttpRequest);
    return answer?.status ?? 0;
  };
  return { exchange, asked, observed, counted, exchanges: () => exchanges };
}

test('an exchange is bounded by its address before anything of it is read', async () => {
  const { exchange, asked, observed, counted, exchanges } = world(1);
  assert.deepEqual([await exchange(), await exchange()], [200, 429]);
  assert.deepEqual([exchanges(), asked], [1, ['192.0.2.1', '192.0.2.1']]);
  assert.deepEqual(observed, ['exchange rateLimited'], 'who exchanges observes the other one');
  assert.deepEqual(counted, ['Acme exchange rateLimited RATE_LIMITED']);
});
