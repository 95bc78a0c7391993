import type { ControlPlaneType } from './control-plane.ts';

/** The control planes whose clients this server can serve. */
export const controlPlaneTypes: readonly ControlPlaneType[] = [];
