import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseEndpoint } from '../../../src/workload/endpoint.ts';

const good: readonly (readonly [string, string])[] = [
  ['unix:///run/meshca/agent.sock', 'unix:/run/meshca/agent.sock'],
  ['tcp://127.0.0.1:8000', 'ipv4:127.0.0.1:8000'],
  ['tcp://[::1]:8000', 'ipv6:[::1]:8000'],
];

for (const [text, target] of good) {
  test(`the endpoint ${text} is understood`, () => {
    const endpoint = parseEndpoint(text);
    assert.ok(endpoint.ok);
    assert.equal(endpoint.value.grpcTarget, target);
  });
}

const bad: readonly string[] = [
  '',
  '/run/agent.sock',
  'unix:run/agent.sock',
  'unix:/run/agent.sock',
  'unix://run/agent.sock',
  'unix:///',
  'unix:///run/a?b=c',
  'unix:///run/a#b',
  'unix:///run/a\0b',
  `unix:///${'x'.repeat(107)}`,
  'UNIX:///run/agent.sock',
  'http://127.0.0.1:80',
  'tcp://localhost:80',
  'tcp://127.0.0.1',
  'tcp://127.0.0.1:0',
  'tcp://127.0.0.1:65536',
  'tcp://127.0.0.1:80/',
  'tcp://127.0.0.1:80/path',
  'tcp://127.0.0.1:80?x',
  'tcp://user@127.0.0.1:80',
  'tcp://::1:80',
  'tcp://[127.0.0.1]:80',
  'tcp://[localhost]:80',
  'tcp:127.0.0.1:80',
];

for (const text of bad) {
  test(`the endpoint ${JSON.stringify(text.slice(0, 40))} is refused`, () => {
    const endpoint = parseEndpoint(text);
    assert.equal(endpoint.ok ? undefined : endpoint.error.code, 'ENDPOINT_INVALID');
  });
}
