import assert from 'node:assert/strict';
import { generateKeyPairSync, sign } from 'node:crypto';
import { test } from 'node:test';
import { PkiError } from '../../../../src/common/errors/index.ts';
import {
  checkpointText,
  CompactRange,
  ecdsaNoteKey,
  encodeEvidence,
  formatNote,
  formatVerifierKey,
  leafHash,
  verifyExport,
  type ExportLine,
  type ExportVerdict,
} from '../../../../src/common/tlog/index.ts';
import { spkiOf } from '../../../../src/common/x509/index.ts';
import { canonicalBytes, type AuditEvent } from '../../../../src/domain/index.ts';

const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
const key = ecdsaNoteKey('mesh.test/meshca/audit', spkiOf(publicKey));
const timeMs = 1_800_000_000_000;

const evidence = encodeEvidence(
  {
    alteredAgents: 0,
    authority: { id: 'a1', kind: 'jwt', publishedAt: 1, sha256: '00' },
    decidedAt: 2,
    inferred: { confirmed: 0, needed: 0, relied: 0, until: 0 },
    proven: { confirmed: 0, needed: 0 },
    root: null,
    scope: '{}',
    sets: [],
    shares: { inferred: 1, proven: 1, unprovable: 1 },
    unprovable: { until: 0 },
    without: { by: '', deadline: 0, kind: 'proven', reason: '' },
  },
  [{ agent: 'spiffe://mesh.test/meshca/agent/x', class: 'expired', until: 1 }],
);

const event = (kind: string, subject: string, detail: AuditEvent['detail'] = {}): AuditEvent => ({
  timeMs,
  actor: 'uid:0',
  kind,
  subject,
  detail,
});

const events = [
  event('server.started', 'server'),
  event('authority.active', 'a1', {
    authorityKind: 'jwt',
    evidence: evidence.sha256,
    without: 'proven',
    provenNeeded: 0,
    provenConfirmed: 0,
  }),
];
const leaves = events.map((each) => canonicalBytes(each));
const first: ExportLine = {
  type: 'log',
  version: 1,
  origin: key.name,
  verifierKey: formatVerifierKey(key),
  otherKeys: [],
  exportedAtMs: timeMs,
};
const waiting: ExportLine = {
  type: 'record',
  sequence: 3,
  out: 'waiting',
  timeMs,
  actor: 'uid:0',
  kind: 'x',
  subject: 'x',
  canonical: 'x',
};

function checkpoint(): string {
  const range = new CompactRange();
  for (const leaf of leaves) range.append(leafHash(leaf));
  const text = checkpointText({ origin: key.name, size: range.size, root: range.root() });
  const signature = sign('sha256', Buffer.from(text), privateKey);
  return formatNote({ text, signatures: [{ name: key.name, keyId: key.id, signature }] });
}

/** A small export with a line of every kind and every field. */
function exported(): readonly ExportLine[] {
  const records = events.map(
    ({ actor, kind, subject }, index): ExportLine => ({
      type: 'record',
      sequence: index + 1,
      index,
      timeMs,
      actor,
      kind,
      subject,
      canonical: (leaves[index] as Buffer).toString('utf8'),
    }),
  );
  const hashes = Buffer.concat(leaves.map((leaf) => leafHash(leaf))).toString('base64');
  return [
    first,
    { type: 'tile', index: 0, hashes },
    ...records,
    { type: 'evidence', authorityId: 'a1', statement: evidence.statement.toString('utf8') },
    { type: 'evidence-lines', lines: (evidence.chunks[0] as Buffer).toString('utf8') },
    { type: 'checkpoint', note: checkpoint(), timeMs },
    waiting,
    { type: 'end', size: 2 },
  ];
}

const judged = (lines: readonly object[]): Promise<ExportVerdict | PkiError> =>
  verifyExport(
    lines.map((line) => JSON.stringify(line)),
    { key },
  ).catch((thrown: PkiError) => thrown);

const values = [null, 7, -1, 0.5, [], [1], {}, '', 'x'.repeat(100_000), true] as const;
/** What the verdict does not state, or states as the word of the file alone. */
const unproven = (verdict: ExportVerdict): object => ({ ...verdict, waiting: 0, out: [] });

test('every field of every kind of line set to anything else is named by its line, or changes no verdict', async () => {
  const lines = exported();
  const good = await judged(lines);
  assert.ok(!(good instanceof PkiError), String(good));
  assert.deepEqual([good.size, good.activations], [2, { withList: 1, without: 0 }]);
  let refused = 0;
  for (const [at, line] of lines.entries())
    for (const name of Object.keys(line))
      for (const value of values) {
        const what = `line ${at + 1} (${line.type}), ${name}: ${JSON.stringify(value).slice(0, 20)}`;
        const found = await judged(lines.with(at, { ...line, [name]: value } as ExportLine));
        if (!(found instanceof PkiError)) {
          assert.deepEqual(unproven(found), unproven(good), what);
          continue;
        }
        refused += 1;
        assert.ok(['AUDIT_INVALID', 'EVIDENCE_INVALID'].includes(found.code), `${what}: ${found}`);
        if (found.code === 'EVIDENCE_INVALID') assert.match(line.type, /^evidence/, what);
        const isEnd = line.type === 'end' || name === 'index';
        assert.ok(isEnd || typeof found.detail['line'] === 'number', `${what}: ${found.message}`);
        assert.ok(found.message.length < 500, what);
      }
  assert.ok(refused > 300, String(refused));
});

test('what no line may lack or have besides is named', async () => {
  const lines = exported();
  const optional = new Set(['otherKeys', 'out', 'index']);
  for (const [at, line] of lines.entries()) {
    for (const name of Object.keys(line).filter((each) => !optional.has(each))) {
      const { [name as keyof typeof line]: _gone, ...rest } = line;
      const found = await judged(lines.with(at, rest as ExportLine));
      assert.ok(found instanceof PkiError && found.code === 'AUDIT_INVALID', name);
      assert.equal(found.detail['line'], at + 1, name);
    }
    const found = await judged(lines.with(at, { ...line, ...{ more: 1 } }));
    assert.ok(found instanceof PkiError && found.detail['line'] === at + 1);
  }
});

test('the verdict states the place in the tree and the key that was used, not the word of the file', async () => {
  const lines = exported();
  const renumbered = lines.map((line) =>
    line.type === 'record' ? { ...line, sequence: line.sequence + 1_000 } : line,
  );
  const other = ecdsaNoteKey(
    key.name,
    spkiOf(generateKeyPairSync('ec', { namedCurve: 'prime256v1' }).publicKey),
  );
  const renamed: ExportLine = {
    ...first,
    origin: `${key.name}/7`,
    verifierKey: formatVerifierKey(other),
  };
  for (const altered of [renumbered, lines.with(0, renamed)]) {
    const found = await judged(altered);
    assert.ok(!(found instanceof PkiError), String(found));
    assert.equal(found.origin, key.name);
    assert.equal(found.verifierKey, formatVerifierKey(key));
    assert.equal(found.size, 2);
    assert.ok(!JSON.stringify(unproven(found)).includes('100'));
  }
});
