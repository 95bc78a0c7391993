const prefix = 'linkerd:';

/** The process of a proxy of Linkerd, as far as its requests tell. */
export interface LinkerdProxy {
  readonly cluster: string;
  readonly namespace: string;
  /** The pod, or the service account where the token is bound to no pod. */
  readonly workload: string;
  readonly publicKeySha256: string;
}

/**
 * The holder of a proxy's certificates. A proxy keeps its key for its whole life, and its trust
 * anchors too. So the holder is the process: all certificates of one holder are with the same
 * anchors.
 */
export const linkerdHolder = ({
  cluster,
  namespace,
  workload,
  publicKeySha256,
}: LinkerdProxy): string =>
  `${prefix}${cluster}/${namespace}/${workload}#${publicKeySha256.slice(0, 16)}`;

/**
 * Whether a renewal of this holder brings no new roots: it holds those with which its process
 * began.
 */
export const keepsItsRoots = (holder: string): boolean => holder.startsWith(prefix);
