import { unwrap } from '../src/common/errors/index.ts';
import { systemClock } from '../src/common/runtime/index.ts';
import { createCsr, generateKeyPairAsync, parseCertificate } from '../src/common/x509/index.ts';
import { leavesPerShard } from '../src/domain/index.ts';
import { round, type DrillContext } from './drill.ts';
import type { ServerProcess } from './server-child.ts';
import type { LoopFigures, RevocationFill } from './server-messages.ts';
import type { World } from './world.ts';

const day = 86_400;
const mebibyte = 1024 * 1024;
/** Leaves that are filled in have shards before the present one, which is that of real leaves. */
const secondsBetweenShards = 60;

export type ShardFill = RevocationFill['shards'][number];

/** A leaf that was really issued. */
export interface Leaf {
  readonly der: Buffer;
  readonly serial: string;
  readonly url: string;
}

export interface NamesAuthority {
  readonly id: string;
  readonly der: Buffer;
  readonly rootDer: Buffer;
}

export async function namesAuthorityOf(world: World): Promise<NamesAuthority> {
  const { authorities } = await world.calls.admin('Authorities/ListAuthorities');
  const of = (kind: string): Record<string, any> =>
    (authorities as Record<string, any>[]).find((each) => each['kind'] === kind) ?? {};
  return {
    id: of('names-issuing')['id'],
    der: of('names-issuing')['certificateDer'],
    rootDer: of('names-root')['certificateDer'],
  };
}

/** Issues a certificate of the profile classic for `www-<index>.drill.example`. */
export async function issueLeaf(world: World, index: number): Promise<Leaf> {
  const { privateKey } = await generateKeyPairAsync('ec-p256');
  const issued = await world.calls.admin('Certificates/IssueCertificate', {
    dnsNames: [`www-${index}.drill.example`],
    csrDer: createCsr(privateKey),
    profile: 'classic',
  });
  const der = Buffer.from((issued['chainDer'] as Buffer[])[0] as Buffer);
  const { serialHex, crlDistributionPoints } = unwrap(parseCertificate(der));
  return { der, serial: serialHex, url: crlDistributionPoints[0] ?? '' };
}

/** Fills the shard of these leaves and as many others as `total` revoked leaves need. */
export async function fillLog(
  {
    server,
    authority,
    baseUrl,
    leaves,
    total,
  }: {
    readonly server: ServerProcess;
    readonly authority: NamesAuthority;
    /** Of the CRLs of all authorities. */
    readonly baseUrl: string;
    readonly leaves: readonly Leaf[];
    readonly total: number;
  },
  { say, signal }: DrillContext,
): Promise<{ readonly shards: readonly ShardFill[]; readonly fillSeconds: number }> {
  const current = Number(/(\d+)\.crl$/.exec(leaves[0]?.url ?? '')?.[1]);
  const first = leavesPerShard - leaves.length;
  const shards: ShardFill[] = [{ shard: current, leaves: Math.min(first, total) }];
  for (let left = total - first, at = 1; left > 0; left -= leavesPerShard, at += 1)
    shards.push({
      shard: current - at * secondsBetweenShards,
      leaves: Math.min(left, leavesPerShard),
    });
  say(`${total} revoked certificates in ${shards.length} shards`);
  const begunMs = performance.now();
  const notAfter = systemClock.now() + 30 * day;
  for (const shard of shards) {
    signal.throwIfAborted();
    const fill = { authorityId: authority.id, baseUrl: `${baseUrl}/${authority.id}`, notAfter };
    await server.fill({ ...fill, shards: [shard] });
  }
  return { shards, fillSeconds: seconds(begunMs) };
}

export const seconds = (sinceMs: number): number => round((performance.now() - sinceMs) / 1000);
export const blockedText = ({ longestMs, longestWorkMs }: LoopFigures): string =>
  `${round(longestMs)} ms (${round(longestWorkMs)} ms of a processor)`;
export const rss = ({ rssBytes }: LoopFigures): number => Math.round(rssBytes / mebibyte);
