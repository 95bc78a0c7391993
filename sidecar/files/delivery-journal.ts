import { join } from 'node:path';
import { z } from 'zod';
import { codes, PkiError, type ErrorCode } from '../../src/common/errors/index.ts';
import type { TargetState } from '../ports/file-targets.ts';
import { readPrivateFile, replaceFile, type StateWrites } from '../state/index.ts';
import type { DeliveryRecord } from './delivery-record.ts';
import { namesOfSetSchema } from './set-manifest.ts';

/** Where the record of each target stands over a crash. No secrets. */
export interface DeliveryJournal {
  /** Undefined: there is none, or it can not be read. */
  load(target: string): Promise<DeliveryRecord | undefined>;
  /** Resolves once it is on disk. Fails with STATE_UNUSABLE: then the step must not begin. */
  save(target: string, record: DeliveryRecord): Promise<void>;
}

const set = z.object({
  name: z.string(),
  number: z.number(),
  serial: z.string(),
  leafSha256: z.string(),
  directory: z.string(),
  notBefore: z.number(),
  notAfter: z.number(),
  authoritySetDigest: z.string(),
  forNames: z
    .union([namesOfSetSchema, z.null()])
    .optional()
    .transform((value) => value ?? undefined),
  rootNames: z.array(z.string()),
  crlsDigest: z.string(),
  // absent in the journal of an older release
  federatedDigest: z.string().default(''),
  spiffeId: z.string(),
  entryId: z.string(),
  entryRevision: z.number(),
  authorityId: z.string(),
  renewAt: z.number(),
  endsAt: z.number(),
});
const orNothing = <T extends z.ZodType>(schema: T) =>
  z
    .union([schema, z.null()])
    .transform((value) => (value === null ? undefined : (value as z.output<T>)));
const steps = [
  'lease',
  'check',
  'offer',
  'swap',
  'apply',
  'verify',
  'prove',
  'swap-back',
  'driver-back',
  'prove-back',
] as const;
const code = z.custom<ErrorCode>((value) => typeof value === 'string' && value in codes);

const obstacle = z.object({ code, message: z.string(), next: z.string() });

const recordSchema = z.object({
  step: z.enum([...steps, 'rest']),
  candidate: orNothing(set),
  served: orNothing(set),
  swapped: z.boolean(),
  outcome: z.enum(['none', 'proven', 'applied', 'rolled-back', 'failed']),
  trust: z.enum(['proven', 'inferred', 'unprovable']),
  otherRootsUntil: z.number(),
  waitsFor: z.enum(['nothing', 'turn', 'hand']),
  tried: z.boolean(),
  promoted: z.boolean(),
  stageOnly: z.boolean(),
  held: z.boolean(),
  resume: orNothing(z.enum(steps)),
  obstacle: orNothing(obstacle),
  // absent in the journal of an older release
  unstapled: z
    .union([obstacle, z.null()])
    .optional()
    .transform((value) => value ?? undefined),
  failures: z.number(),
  retryAt: z.number(),
  retired: z.array(z.object({ set, removeAt: z.number() })),
  since: z.number(),
  history: z.array(
    z.object({
      at: z.number(),
      set: z.string(),
      state: z.custom<TargetState>((value) => typeof value === 'string'),
      note: z.string(),
    }),
  ),
}) satisfies z.ZodType<DeliveryRecord>;

const journalSchema = z.object({ version: z.literal(1), record: recordSchema });

const fileOf = (target: string): string => `target-${target}.json`;

/** In the data directory of the agent, one file a target, replaced at each step with fsync. */
export class FileDeliveryJournal implements DeliveryJournal {
  readonly #directory: string;
  readonly #writes: Pick<StateWrites, 'put' | 'unkept'>;

  constructor(directory: string, writes: Pick<StateWrites, 'put' | 'unkept'>) {
    this.#directory = directory;
    this.#writes = writes;
  }

  async load(target: string): Promise<DeliveryRecord | undefined> {
    try {
      const text = await readPrivateFile(join(this.#directory, fileOf(target)));
      return text === undefined ? undefined : journalSchema.parse(JSON.parse(text)).record;
    } catch {
      // the sets on disk say enough to go on
      return undefined;
    }
  }

  async save(target: string, record: DeliveryRecord): Promise<void> {
    const file = fileOf(target);
    const text = `${JSON.stringify({ version: 1, record }, (_key, value: unknown) => value ?? null)}\n`;
    const kept = await this.#writes.put(file, () => replaceFile(join(this.#directory, file), text));
    if (kept) return;
    const reason = this.#writes.unkept().find((each) => each.file === file)?.error;
    throw (
      reason ?? new PkiError('STATE_UNUSABLE', `the journal of the target ${target} is not kept`)
    );
  }
}
