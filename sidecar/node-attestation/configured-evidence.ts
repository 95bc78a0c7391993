import type { z } from 'zod';
import { PkiError } from '../../src/common/errors/index.ts';
import type { Logger } from '../../src/common/runtime/index.ts';
import type { NodeAttestorType, NodeEvidence } from './node-attestor.ts';

/** The configuration of the types, by their keys; at most one is set. */
export type NodeAttestorConfiguration = Readonly<Record<string, unknown>>;

export interface ConfiguredEvidence extends NodeEvidence {
  readonly type: string;
}

/** `x509pop` stays, `join_token` becomes `joinToken`. */
const configurationKeyOf = (type: string): string =>
  type.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());

/** The schema of `attestation`, made of what the types bring. */
export const nodeAttestorSchemas = (
  types: readonly NodeAttestorType[],
): Readonly<Record<string, z.ZodOptional>> =>
  Object.fromEntries(
    types.map(({ type, configuration }) => [configurationKeyOf(type), configuration.optional()]),
  );

/** The keys of the types that are configured. */
export const configuredTypes = (configuration: NodeAttestorConfiguration): readonly string[] =>
  Object.entries(configuration).flatMap(([key, value]) => (value === undefined ? [] : [key]));

/** Throws NODE_CREDENTIAL_MISSING. */
export async function configuredEvidence(
  types: readonly NodeAttestorType[],
  configuration: NodeAttestorConfiguration,
  logger: Logger,
): Promise<ConfiguredEvidence> {
  const keys = configuredTypes(configuration);
  const type = types.find(({ type: name }) => keys.includes(configurationKeyOf(name)));
  if (type === undefined)
    throw new PkiError(
      'NODE_CREDENTIAL_MISSING',
      'attestation names nothing that this node can prove itself with; known: ' +
        `${types.map(({ type: name }) => `attestation.${configurationKeyOf(name)}`).join(', ')}`,
    );
  const evidence = await type.evidence(configuration[configurationKeyOf(type.type)], logger);
  return { ...evidence, type: type.type };
}
