/** A control plane of Linkerd whose proxies take their certificates from this CA. */
export interface LinkerdControlPlane {
  /** The namespace of the control plane, which is part of each name. */
  readonly namespace: string;
  /** The identity trust domain of that Linkerd. It need not be the trust domain of this CA. */
  readonly trustDomain: string;
}

/** A service account of a Kubernetes cluster. */
export interface ServiceAccount {
  readonly namespace: string;
  readonly serviceAccount: string;
}

/** The service account of the identity service, and its name in the control plane. */
const identityService = 'linkerd-identity';

/** All identities of the proxies of one control plane are below this DNS name. */
export const linkerdSuffix = ({ namespace, trustDomain }: LinkerdControlPlane): string =>
  `serviceaccount.identity.${namespace}.${trustDomain}`;

/** The DNS name of a proxy: its identity in Linkerd. */
export const linkerdName = (
  plane: LinkerdControlPlane,
  { namespace, serviceAccount }: ServiceAccount,
): string => `${serviceAccount}.${namespace}.${linkerdSuffix(plane)}`;

/**
 * The name under which proxies dial the identity service (LINKERD2_PROXY_IDENTITY_SVC_NAME). This
 * CA serves under it, so that no proxy may have it.
 */
export const linkerdServingName = (plane: LinkerdControlPlane): string =>
  linkerdName(plane, { namespace: plane.namespace, serviceAccount: identityService });
