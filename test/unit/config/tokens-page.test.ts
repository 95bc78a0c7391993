import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { parse } from 'yaml';
import { agentConfigSchema } from '../../../sidecar/config.ts';
import { serverConfigSchema } from '../../../src/config/index.ts';
import { tokensContradiction } from '../../../src/services/tokens/index.ts';
import { root } from '../../architecture/graph.ts';

const page = readFileSync(join(root, 'docs', 'tokens.md'), 'utf8');
const blocks = [...page.matchAll(/^```yaml\n(.*?)^```$/gms)].map(
  ([, text]) => parse(text as string) as Record<string, unknown>,
);

test('each configuration of a server or agent in the page on tokens is one', () => {
  const settings = blocks.filter((block) => 'tokens' in block || 'attestation' in block);
  assert.ok(settings.length >= 6);
  for (const block of settings) {
    const text = JSON.stringify(block);
    const isAgent = text.includes('tokenPath');
    if (isAgent)
      agentConfigSchema.parse({
        trustDomain: 'mesh.test',
        serverAddress: 'ca:8443',
        bootstrap: { rootFingerprint: 'ab'.repeat(32) },
        ...block,
      });
    else {
      const { tokens } = serverConfigSchema.parse({ trustDomain: 'mesh.test', ...block });
      assert.equal(tokensContradiction(tokens), undefined, text);
    }
  }
});
