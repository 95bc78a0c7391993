const prefix = 'pod:';

/**
 * The holder of the certificates of one pod, by the UID in its bound token. A pod has one agent of
 * its mesh, which takes new roots with each certificate: a later certificate of the same pod shows
 * that it has the roots of that time.
 */
export const podHolder = (
  cluster: string,
  { name, uid }: { readonly name: string; readonly uid: string },
): string => `${prefix}${cluster}/${name}/${uid}`;

/** Whether each certificate of this holder replaces the one before, with the roots of its time. */
export const renewsItsRoots = (holder: string): boolean => holder.startsWith(prefix);
