import { createHash } from 'node:crypto';
import { PkiError } from '../errors/index.ts';

/**
 * The consumers that were counted when an authority began to sign: a statement, followed by one
 * JSON object a line per consumer, in chunks that the statement names by their SHA-256. The record
 * of the activation has the SHA-256 of the statement, so that a reader of the record can check the
 * list, whole or one chunk at a time. The bytes of a version never change.
 */
export interface EvidenceStatement {
  /**
   * The number of agents whose rows did not match the log. Then the authority signs only by force
   * or deadline, and these agents are not in the list.
   */
  readonly alteredAgents: number;
  /** `sha256`: of the certificate (DER), or of the SubjectPublicKeyInfo of a JWT key. */
  readonly authority: {
    readonly id: string;
    readonly kind: string;
    readonly publishedAt: number;
    readonly sha256: string;
  };
  readonly chunks: readonly { readonly lines: number; readonly sha256: string }[];
  /** Unix seconds. */
  readonly decidedAt: number;
  readonly inferred: {
    readonly confirmed: number;
    readonly needed: number /** The latest expiry that was waited for, and is past; 0: nothing. */;
    readonly relied: number /** Of those that were not waited for; 0: nothing. */;
    readonly until: number;
  };
  /** How many lines there are of each class. */
  readonly lines: {
    readonly expired: number;
    readonly passedOver: number;
    readonly proven: number;
  };
  readonly proven: { readonly confirmed: number; readonly needed: number };
  /** Above an intermediate. */
  readonly root: { readonly id: string; readonly sha256: string } | null;
  /** The scope in which it signs, as JSON. */
  readonly scope: string;
  /**
   * The sets of consumers, each by the SHA-256 digests of its members. The digest of a set is over
   * these, sorted.
   */
  readonly sets: readonly { readonly digest: string; readonly members: readonly string[] }[];
  readonly shares: {
    readonly inferred: number;
    readonly proven: number;
    readonly unprovable: number;
  };
  /** Unseen readers: the end of the wait for them (Unix seconds, 0: there are none). */
  readonly unprovable: { readonly until: number };
  /** Why it signs without some consumers, if it does. */
  readonly without: {
    readonly by: string;
    /** Of `ended`: when what signed before had ended. */
    readonly deadline: number;
    readonly kind: 'proven' | 'forced' | 'deadline' | 'ended';
    readonly reason: string;
  };
}

export type EvidenceLine =
  | {
      readonly agent: string;
      readonly class: 'proven';
      readonly consumer: string;
      readonly description: string /** When the server was told, Unix seconds. */;
      readonly heardAt: number;
      readonly kind: string;
      /**
       * The kind of the set with the digest `set`. A consumer has an intermediate if it verified it
       * or has its root.
       */
      readonly of: 'root' | 'jwt' | 'issuing';
      readonly set: string /** By its own word. */;
      readonly since: number;
      readonly spiffeId: string;
    }
  | {
      readonly agent: string;
      readonly class: 'passed-over';
      readonly consumer: string;
      readonly description: string;
      readonly holds: readonly string[];
      readonly kind: string;
      readonly lastSeenAt: number;
      readonly reason: string;
      readonly spiffeId: string;
      readonly state: string /** The last leaf issued through its agent ends then. */;
      readonly until: number;
      readonly why: 'force' | 'deadline' | 'ended' | 'share';
    }
  /** An agent that could have returned after the publication, until its last leaf expired. */
  | { readonly agent: string; readonly class: 'expired'; readonly until: number };

export interface ActivationEvidence {
  readonly sha256: string;
  readonly statement: Buffer;
  readonly chunks: readonly Buffer[];
  /** As in the statement. */
  readonly proven: EvidenceStatement['proven'];
}

const version = 'meshca-activation-v1\n';
const linesPerChunk = 1_000;
const hashOf = (data: Buffer | string): string => createHash('sha256').update(data).digest('hex');

/**
 * `lines`: in their final order, and each with its keys in order. The keys of the statement are
 * ordered here.
 */
export function encodeEvidence(
  statement: Omit<EvidenceStatement, 'chunks' | 'lines'>,
  lines: readonly EvidenceLine[],
): ActivationEvidence {
  const chunks: Buffer[] = [];
  const named: { lines: number; sha256: string }[] = [];
  for (let at = 0; at < lines.length; at += linesPerChunk) {
    const some = lines.slice(at, at + linesPerChunk);
    const data = Buffer.from(some.map((line) => `${JSON.stringify(line)}\n`).join(''), 'utf8');
    chunks.push(data);
    named.push({ lines: some.length, sha256: hashOf(data) });
  }
  const count = (wanted: EvidenceLine['class']): number =>
    lines.reduce((sum, line) => sum + (line.class === wanted ? 1 : 0), 0);
  const whole: EvidenceStatement = {
    ...statement,
    chunks: named,
    lines: { expired: count('expired'), passedOver: count('passed-over'), proven: count('proven') },
  };
  const bytes = Buffer.from(version + JSON.stringify(ordered(whole)), 'utf8');
  return { sha256: hashOf(bytes), statement: bytes, chunks, proven: whole.proven };
}

type Plain =
  | string
  | number
  | boolean
  | null
  | readonly Plain[]
  | { readonly [key: string]: Plain };

function ordered(value: unknown): Plain {
  if (Array.isArray(value)) return value.map(ordered);
  if (typeof value !== 'object' || value === null) return value as Plain;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([one], [other]) => (one < other ? -1 : 1))
      .map(([key, inner]) => [key, ordered(inner)]),
  );
}

/** The fields of the activation's record with which the list must agree. */
export interface EvidenceClaim {
  readonly authorityId: string;
  readonly sha256: string;
  /** The detail of `authority.active` in the audit log. Absent if only the digest is known. */
  readonly detail?: Readonly<Record<string, unknown>>;
}

/**
 * Checks a list against its record: the statement first, then each chunk in its order, then
 * `finish`.
 * @throws PkiError EVIDENCE_INVALID, saying what does not agree
 */
export class EvidenceCheck {
  readonly statement: EvidenceStatement;
  readonly #claim: EvidenceClaim;
  readonly #counts = { expired: 0, 'passed-over': 0, proven: 0 };
  readonly #sets: ReadonlyMap<string, ReadonlySet<string>>;
  #chunks = 0;
  #last = '';

  constructor(claim: EvidenceClaim, statement: Buffer) {
    this.#claim = claim;
    if (hashOf(statement) !== claim.sha256)
      throw this.#invalid('the statement is not the one that the record commits to');
    const text = statement.toString('utf8');
    if (!text.startsWith(version))
      throw this.#invalid('the statement is of a version that this release does not read');
    this.statement = this.#parsed(text.slice(version.length)) as EvidenceStatement;
    const { authority, sets, without, proven } = this.statement;
    if (authority.id !== claim.authorityId)
      throw this.#invalid(`the statement is about authority ${authority.id}`);
    for (const { digest, members } of sets) {
      if (digestOf(members) !== digest)
        throw this.#invalid(`the set ${digest} does not have the members that are given for it`);
    }
    this.#sets = new Map(sets.map(({ digest, members }) => [digest, new Set(members)]));
    const { detail } = claim;
    if (
      detail !== undefined &&
      (detail['without'] !== without.kind ||
        detail['provenNeeded'] !== proven.needed ||
        detail['provenConfirmed'] !== proven.confirmed)
    )
      throw this.#invalid('the record counts otherwise');
  }

  /** The lines of the next chunk. */
  chunk(data: Buffer): readonly EvidenceLine[] {
    const expected = this.statement.chunks[this.#chunks];
    if (expected === undefined)
      throw this.#invalid('there are more consumers than the statement names');
    if (hashOf(data) !== expected.sha256)
      throw this.#invalid(
        `the consumers in part ${this.#chunks + 1} of ${this.statement.chunks.length} are ` +
          'not those that the statement commits to: the list was changed',
      );
    this.#chunks += 1;
    const lines = data
      .toString('utf8')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => this.#parsed(line) as EvidenceLine);
    for (const line of lines) this.#line(line);
    return lines;
  }

  finish(): EvidenceStatement {
    const { chunks, lines, proven } = this.statement;
    if (this.#chunks < chunks.length)
      throw this.#invalid(
        `${chunks.length - this.#chunks} of ${chunks.length} parts of the list are missing`,
      );
    if (
      lines.proven !== this.#counts.proven ||
      lines.passedOver !== this.#counts['passed-over'] ||
      lines.expired !== this.#counts.expired
    )
      throw this.#invalid('the statement counts otherwise than its list');
    if (proven.confirmed !== lines.proven || proven.needed !== lines.proven + lines.passedOver)
      throw this.#invalid('the statement counts consumers that it does not list');
    return this.statement;
  }

  #line(line: EvidenceLine): void {
    this.#counts[line.class] += 1;
    const place = `${line.agent} ${line.class === 'expired' ? '' : line.consumer}`;
    // each consumer counts once, so a list may not name one twice
    if (!(place > this.#last)) throw this.#invalid(`${place.trim()} does not stand in its order`);
    this.#last = place;
    if (line.class !== 'proven') return;
    const { authority, root } = this.statement;
    const wanted =
      line.of === authority.kind ? authority.sha256 : line.of === 'root' ? root?.sha256 : undefined;
    if (wanted === undefined || this.#sets.get(line.set)?.has(wanted) !== true)
      throw this.#invalid(
        `${place.trim()} is counted as proven, and what it holds does not have the authority in it`,
      );
  }

  #parsed(text: string): unknown {
    try {
      return JSON.parse(text);
    } catch {
      throw this.#invalid('what the record commits to is no list of this format');
    }
  }

  #invalid(what: string): PkiError {
    return new PkiError(
      'EVIDENCE_INVALID',
      `activation of authority ${this.#claim.authorityId}: ${what}`,
      { detail: { authorityId: this.#claim.authorityId } },
    );
  }
}

/**
 * The digest of a set of authorities by their SHA-256 (hex), equal to that over their encodings.
 */
const digestOf = (members: readonly string[]): string =>
  hashOf(Buffer.concat([...members].sort().map((member) => Buffer.from(member, 'hex'))));

/** Undefined for the first activations of a server, and for those of a server that kept no list. */
export function claimOf(
  subject: string,
  detail: Readonly<Record<string, unknown>>,
): EvidenceClaim | undefined {
  const sha256 = detail['evidence'];
  return typeof sha256 === 'string' ? { authorityId: subject, sha256, detail } : undefined;
}
