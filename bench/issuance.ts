import { generateKeyPairSync } from 'node:crypto';
import { issuerContract, signingContract } from '../src/common/wire/index.ts';
import {
  certificatesToPem,
  createCsr,
  parseCertificate,
  pemEncode,
  pkcs8Of,
} from '../src/common/x509/index.ts';
import { unwrap } from '../src/common/errors/index.ts';
import type { Credential } from '../test/support/server.ts';
import { BenchChild } from './child.ts';
import { measureCryptoFloor, type FloorRate, type FloorToken } from './crypto-floor.ts';
import { since, treeCpu } from './cpu.ts';
import type { Figure } from './figures.ts';
import { median } from './figures.ts';
import type { LoadPlan, LoadResult, LoadTurn } from './h2-load.ts';
import { startProduct, trustDomain, type Product } from './product.ts';

export interface IssuanceOptions {
  readonly execPath: string;
  readonly short: boolean;
  readonly cores: number;
  readonly nodeFlags?: readonly string[];
}

export interface Case {
  readonly name: string;
  readonly what: string;
  readonly goal: number;
  readonly perCall: number;
  readonly inFlight: number;
  readonly caller: 'agent' | 'delegate';
  /**
   * Calls begin at random times, at this share of the rate that is possible. The figure is then the
   * 99th percentile of a call, in milliseconds.
   */
  readonly share?: number;
}

const cases: readonly Case[] = [
  {
    name: 'issuance.delegate.unary',
    what: 'signing API, one certificate per call, 64 calls in flight',
    goal: 0.4,
    perCall: 1,
    inFlight: 64,
    caller: 'delegate',
  },
  {
    name: 'issuance.agent.unary',
    what: 'agent API, one certificate per call, 32 calls in flight',
    goal: 0.4,
    perCall: 1,
    inFlight: 32,
    caller: 'agent',
  },
  {
    name: 'issuance.agent.half',
    what: 'agent API, one certificate per call, half of the rate that is possible: p99 of a call',
    goal: 10,
    perCall: 1,
    inFlight: 32,
    caller: 'agent',
    share: 0.5,
  },
  {
    name: 'issuance.delegate.batch100',
    what: 'signing API, 100 per call, 4 calls in flight',
    goal: 0.65,
    perCall: 100,
    inFlight: 4,
    caller: 'delegate',
  },
  {
    name: 'issuance.agent.batch100',
    what: 'agent API, 100 per call, 4 calls in flight',
    goal: 0.65,
    perCall: 100,
    inFlight: 4,
    caller: 'agent',
  },
  {
    name: 'issuance.agent.batch500',
    what: 'agent API, 500 per call, 2 calls in flight',
    goal: 0.65,
    perCall: 500,
    inFlight: 2,
    caller: 'agent',
  },
];

export const delegateId = `spiffe://${trustDomain}/control-plane`;
export const workloadId = `spiffe://${trustDomain}/ns/shop/sa/cart`;

/**
 * Certificates per second with everything on, against what the cryptography alone allows on this
 * machine, in the same run.
 */
export async function benchIssuance(
  { execPath, short, cores, nodeFlags }: IssuanceOptions,
  only?: RegExp,
): Promise<readonly Figure[]> {
  await using product = await startProduct({
    execPath,
    ...(nodeFlags === undefined ? {} : { nodeFlags }),
  });
  const token = await floorToken(product);
  const callers = {
    delegate: await delegate(product),
    agent: await product.joinAgent('bench-agent'),
  };
  await product.admin('Entries/CreateEntries', {
    entries: [
      {
        id: 'bench',
        spiffeId: workloadId,
        parentId: callers.agent.spiffeId,
        selectors: ['unix:uid:1234'],
      },
    ],
  });
  const seconds = short ? 1 : 3;
  const rounds = short ? 2 : 5;
  const chosen = cases.filter(({ name }) => only === undefined || only.test(name));
  const floors: FloorRate[] = [];
  const rates = chosen.map((): Round[] => []);
  const loads = await Promise.all(
    chosen.map(async (each) => {
      const load = new BenchChild('h2-load', '--load-child', { execPath });
      await load.ask(planOf(product, callers[each.caller], each));
      return load;
    }),
  );
  try {
    // The first half minute under load is that of the compiler: its threads take 140 µs for each
    // certificate at first, and 37 later.
    for (const load of loads) await load.ask({ seconds: short ? 0.5 : 8 });
    for (let round = 0; round < rounds; round++) {
      floors.push(await measureCryptoFloor({ token, seconds, processes: cores, execPath }));
      for (const [index, load] of loads.entries())
        rates[index]?.push(await oneRound(product, load, chosen[index] as Case, seconds));
    }
    floors.push(await measureCryptoFloor({ token, seconds, processes: cores, execPath }));
  } finally {
    for (const load of loads) load[Symbol.dispose]();
  }
  return chosen.map((measured, index) => figureOf(measured, rates[index] ?? [], floors));
}

/**
 * Each round is compared with the floors right before and after it, so that a drift of the machine
 * affects both.
 */
function figureOf(
  { name, what, goal, share }: Case,
  rounds: readonly Round[],
  floors: readonly FloorRate[],
): Figure {
  const of = (pick: (round: Round) => number): number => median(rounds.map(pick));
  const floorUs = median(floors.map(({ cpuUs }) => cpuUs));
  const floorAt = (index: number): number => (floors[index] as FloorRate).perSecond;
  const ratio = median(
    rounds.map(({ perSecond }, index) => perSecond / ((floorAt(index) + floorAt(index + 1)) / 2)),
  );
  return {
    name,
    what,
    ...(share === undefined
      ? { ratio, atLeast: true }
      : { ratio: of(({ load }) => load.p99Ms), unit: 'ms' }),
    goal,
    detail: {
      'certificates/s': of(({ perSecond }) => perSecond),
      'crypto floor/s': median(floors.map(({ perSecond }) => perSecond)),
      'CPU ratio': floorUs / of(({ mainUs, signersUs }) => mainUs + signersUs),
      'floor µs/certificate': floorUs,
      'server main µs/certificate': of(({ mainUs }) => mainUs),
      'signers µs/certificate': of(({ signersUs }) => signersUs),
      'certificates/commit': of(({ perCommit }) => perCommit),
      'signatures/hand-over': of(({ perChunk }) => perChunk),
      'generator share of a core': of(({ load }) => load.cpuShare),
      'call p50 ms': of(({ load }) => load.p50Ms),
      'call p99 ms': of(({ load }) => load.p99Ms),
    },
  };
}

export interface Round {
  readonly perSecond: number;
  readonly mainUs: number;
  readonly signersUs: number;
  /** Certificates for each commit of any kind, and for each hand-over to a signer process. */
  readonly perCommit: number;
  readonly perChunk: number;
  readonly load: LoadResult;
}

export async function oneRound(
  product: Product,
  load: BenchChild,
  { perCall, name, share }: Case,
  seconds: number,
): Promise<Round> {
  let turn: LoadTurn = { seconds };
  if (share !== undefined) {
    const full = await load.ask<LoadResult>({ seconds: 1 });
    turn = { seconds, perSecond: (full.completed / full.seconds) * share };
  }
  const countsBefore = await counts(product);
  const before = treeCpu(product.serverPid);
  const result = await load.ask<LoadResult>(turn);
  const used = since(before, treeCpu(product.serverPid));
  const countsAfter = await counts(product);
  const [count, commits, chunks, signatures] = countsAfter.map(
    (after, index) => after - (countsBefore[index] as number),
  ) as [number, number, number, number];
  const counted = result.completed * perCall;
  // the generator does not read what it is answered; the inventory knows what was issued
  if (result.failed > 0 || count < counted)
    throw new Error(
      `${name}: ${result.failed} calls refused, ${count} certificates on record where ${counted} were counted`,
    );
  return {
    perSecond: counted / result.seconds,
    mainUs: (used.mainMs * 1000) / count,
    signersUs: (used.childrenMs * 1000) / count,
    perCommit: count / commits,
    perChunk: signatures / chunks,
    load: result,
  };
}

/** Certificates, commits, chunks for the signers and signatures so far. */
async function counts(product: Product): Promise<readonly number[]> {
  const text = await (await fetch(`http://127.0.0.1:${product.opsPort}/metrics`)).text();
  return [
    /^meshca_certificates\{state="issued"\} (\d+)$/m,
    /^meshca_store_commit_duration_seconds_count (\d+)$/m,
    /^meshca_hsm_chunks (\d+)$/m,
    /^meshca_hsm_signatures (\d+)$/m,
  ].map((pattern) => Number(pattern.exec(text)?.[1] ?? Number.NaN));
}

export function planOf(
  product: Product,
  credential: Credential,
  { perCall, inFlight, caller }: Case,
): LoadPlan {
  const csrDer = createCsr(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey);
  const many = <T>(item: T): T[] => Array.from({ length: perCall }, () => item);
  // no request IDs: the same bytes again are a new request
  const { path, message } = caller === 'delegate' ? signing() : svids();
  return {
    host: '127.0.0.1',
    port: product.port,
    rootsPem: certificatesToPem(product.rootsDer),
    chainPem: certificatesToPem(credential.chainDer),
    keyPem: pemEncode('PRIVATE KEY', pkcs8Of(credential.privateKey)),
    path,
    message,
    inFlight,
    connections: 1,
  };

  function signing(): Pick<LoadPlan, 'path' | 'message'> {
    const { Sign, SignBatch } = signingContract().packages.meshca.signing.v1.Signing.service;
    const item = { spiffeId: workloadId, csrDer, ttlSeconds: 3600 };
    return perCall === 1
      ? { path: Sign.path, message: Sign.requestSerialize(item) }
      : { path: SignBatch.path, message: SignBatch.requestSerialize({ items: many(item) }) };
  }
  function svids(): Pick<LoadPlan, 'path' | 'message'> {
    const { SignX509Svids } = issuerContract().packages.meshca.issuer.v1.AgentIssuer.service;
    return {
      path: SignX509Svids.path,
      message: SignX509Svids.requestSerialize({
        items: many({
          entryId: 'bench',
          csrDer,
          selectors: [
            { type: 'unix', value: 'uid:1234' },
            { type: 'unix', value: 'gid:1234' },
          ],
        }),
      }),
    };
  }
}

async function delegate(product: Product): Promise<Credential> {
  await product.admin('Delegations/CreateDelegation', {
    delegation: {
      clientId: delegateId,
      patterns: [`spiffe://${trustDomain}/ns/*/sa/*`],
      maxTtlSeconds: 3600,
    },
  });
  return product.mint(delegateId);
}

/** The floor signs with the very key that issues. */
async function floorToken(product: Product): Promise<FloorToken> {
  const { authorities } = await product.admin('Authorities/ListAuthorities', {});
  const issuing = authorities.find(
    (each: { readonly kind: string; readonly state: string }) =>
      each.kind === 'issuing' && each.state === 'active',
  );
  const { spkiDer } = unwrap(parseCertificate(issuing.certificateDer as Buffer));
  const { modulePath, environment, tokens } = product.tokens;
  return {
    modulePath,
    environment,
    tokenLabel: tokens.issuing.label,
    pin: tokens.issuing.pin,
    ckaId: issuing.ckaId as string,
    spkiDer: Buffer.from(spkiDer),
  };
}
