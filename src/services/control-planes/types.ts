import type { ControlPlaneType } from './control-plane.ts';
import { istio } from './istio/index.ts';
import { linkerd } from './linkerd/index.ts';

/** The control planes whose clients this server can serve. */
export const controlPlaneTypes: readonly ControlPlaneType[] = [istio, linkerd];
