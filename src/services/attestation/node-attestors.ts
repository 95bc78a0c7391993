import type { z } from 'zod';
import { PkiError } from '../../common/errors/index.ts';
import { agentId, isPathSegment, SpiffeId, type TrustDomain } from '../../common/spiffe/index.ts';
import type { AgentNames } from '../../domain/index.ts';
import type {
  NodeAttestor,
  NodeAttestorDependencies,
  NodeAttestorType,
  NodeProof,
} from './node-attestor.ts';

const typePattern = /^[a-z][a-z0-9_]{0,31}$/;
const maximumNameLength = 128;
const maximumSelectors = 256;

/** The configuration of each type, by type name. */
export type NodeAttestorConfiguration = Readonly<Record<string, unknown>>;

/** `x509pop` stays the same, `join_token` becomes `joinToken`. */
export const configurationKeyOf = (type: string): string =>
  type.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());

/** The configuration schemas of the types, as a part of `attestation`. */
export const nodeAttestorSchemas = (
  types: readonly NodeAttestorType[],
): Readonly<Record<string, z.ZodType>> =>
  Object.fromEntries(
    types.map(({ type, configuration }) => [configurationKeyOf(type), configuration]),
  );

/**
 * The registry of node attestation, and the owner of its namespace. A type assigns only its own
 * paths and selectors. The name of a type is never the name of an agent.
 */
export class NodeAttestors implements AgentNames {
  readonly #trustDomain: TrustDomain;
  readonly #types: ReadonlyMap<string, NodeAttestorType>;
  readonly #attestors: ReadonlyMap<string, NodeAttestor>;

  /** @throws PkiError CONFIG_INVALID if a type can not use its configuration */
  constructor(
    trustDomain: TrustDomain,
    types: readonly NodeAttestorType[],
    configuration: NodeAttestorConfiguration,
    dependencies: NodeAttestorDependencies,
  ) {
    this.#trustDomain = trustDomain;
    this.#types = new Map(types.map((type) => [type.type, type]));
    if (this.#types.size !== types.length || types.some(({ type }) => !typePattern.test(type)))
      throw new Error(
        `two types of node attestation have the same name: ${types.map(({ type }) => type).join(', ')}`,
      );
    this.#attestors = new Map(
      types.flatMap((type) => {
        const attestor = type.create(configuration[configurationKeyOf(type.type)], dependencies);
        return attestor === undefined ? [] : [[type.type, attestor] as const];
      }),
    );
  }

  /**
   * @throws PkiError ATTESTATION_FAILED for a type that this server does not know or has not
   *   configured
   */
  attestor(type: string): NodeAttestor {
    const attestor = this.#attestors.get(type);
    if (attestor === undefined)
      throw new PkiError(
        'ATTESTATION_FAILED',
        'this server does not offer node attestation by ' +
          `${JSON.stringify(type.slice(0, 40))}; it offers ` +
          `${[...this.#attestors.keys()].join(', ')}`,
        {
          next:
            'Configure the agent for a type that the server offers, or configure the type in ' +
            'attestation of the server.',
        },
      );
    return attestor;
  }

  /** See `NodeAttestor.revoked`. */
  revoked(type: string, recorded: readonly string[]): PkiError | undefined {
    return this.#attestors.get(type)?.revoked?.(recorded);
  }

  /** Whether evidence of this type can be revoked. */
  revokes(type: string): boolean {
    return this.#attestors.get(type)?.revoked !== undefined;
  }

  /** Whether an operator may assign this name to an agent. */
  isFreeName(name: string): boolean {
    return isPathSegment(name) && name.length <= maximumNameLength && !this.#types.has(name);
  }

  /** Whether node attestation can assign this ID to an agent of this trust domain. */
  isAgent(id: SpiffeId): boolean {
    const [root, agent, first, second, ...more] = id.segments;
    if (root !== 'meshca' || agent !== 'agent' || first === undefined || more.length > 0)
      return false;
    if (!id.trustDomain.equals(this.#trustDomain)) return false;
    if (second === undefined) return !this.#types.has(first);
    const type = this.#types.get(first);
    return type?.namespace === 'own' && type.isAgentName(second);
  }

  /**
   * The ID of the proven agent.
   *
   * @throws PkiError INTERNAL if a type leaves its namespace, which is a defect of the type
   */
  agentIdOf(typeName: string, proof: NodeProof): string {
    const type = this.#types.get(typeName);
    const name = proof.agentName;
    if (type === undefined || !isPathSegment(name) || !type.isAgentName(name))
      throw new PkiError('INTERNAL', `${typeName} returned an agent name outside its namespace`);
    if (type.namespace === 'operator') {
      if (!this.isFreeName(name))
        throw new PkiError('ATTESTATION_FAILED', `the name ${name} is reserved`, {
          next: 'Choose another name for the agent: this one belongs to a type of node attestation.',
        });
      return agentId(this.#trustDomain, name).toString();
    }
    const foreign = proof.selectors.find((selector) => selector.type !== typeName);
    if (foreign !== undefined || proof.selectors.length > maximumSelectors)
      throw new PkiError(
        'INTERNAL',
        `${typeName} returned selectors outside its namespace: ${foreign?.type ?? proof.selectors.length}`,
      );
    return agentId(this.#trustDomain, typeName, name).toString();
  }
}
