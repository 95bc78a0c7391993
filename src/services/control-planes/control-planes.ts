import type { z } from 'zod';
import type { ForeignService } from '../../common/wire/index.ts';
import type { ReservedDnsName } from '../../domain/index.ts';
import type { CallerClass } from '../callers/caller.ts';
import type { ControlPlane, ControlPlaneDependencies, ControlPlaneType } from './control-plane.ts';

/** The configuration of each type, by type. Absent: this server does not serve it. */
export type ControlPlaneConfiguration = Readonly<Record<string, unknown>>;

/** The configuration schemas of the types: the content of `controlPlanes`. */
export const controlPlaneSchemas = (
  types: readonly ControlPlaneType[],
): Readonly<Record<string, z.ZodOptional<z.ZodType>>> =>
  Object.fromEntries(types.map(({ type, configuration }) => [type, configuration.optional()]));

/** A configured type, and the names by which its clients dial this server. */
export interface ConfiguredFront {
  readonly type: string;
  readonly dnsNames: readonly string[];
  readonly reserved: readonly ReservedDnsName[];
  readonly delegatedIssuers: readonly string[];
  /** No class of its callers proves itself by a certificate. */
  readonly anonymous: boolean;
}

export const configuredFronts = (
  types: readonly ControlPlaneType[],
  configuration: ControlPlaneConfiguration,
): readonly ConfiguredFront[] =>
  configuredTypes(types, configuration).map((type) => ({
    type: type.type,
    dnsNames: type.dnsNames(configuration[type.type]),
    reserved: type.reserved?.(configuration[type.type]) ?? [],
    delegatedIssuers: type.delegatedIssuers?.(configuration[type.type]) ?? [],
    anonymous: type.admits.every((admitted) => admitted === 'anonymous'),
  }));

/** A control plane that this server serves. */
export interface ServedControlPlane extends ControlPlane {
  readonly type: string;
  readonly contract: ForeignService;
  readonly admits: readonly CallerClass[];
}

/** @throws PkiError CONFIG_INVALID if a type can not use its configuration */
export const createControlPlanes = (
  types: readonly ControlPlaneType[],
  configuration: ControlPlaneConfiguration,
  dependencies: ControlPlaneDependencies,
): readonly ServedControlPlane[] =>
  configuredTypes(types, configuration).map((type) => ({
    type: type.type,
    contract: type.contract(),
    admits: type.admits,
    ...type.create(configuration[type.type], dependencies),
  }));

const configuredTypes = (
  types: readonly ControlPlaneType[],
  configuration: ControlPlaneConfiguration,
): readonly ControlPlaneType[] => types.filter(({ type }) => configuration[type] !== undefined);
