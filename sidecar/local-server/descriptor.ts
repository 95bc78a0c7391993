import type { Socket } from 'node:net';

/** Read from the handle each time: after close the number may belong to another file. -1: closed. */
export const descriptorOf = (socket: Socket): number =>
  (socket as unknown as { readonly _handle: { readonly fd: number } | null })._handle?.fd ?? -1;
