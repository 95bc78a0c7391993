export {
  configuredFronts,
  controlPlaneSchemas,
  createControlPlanes,
  type ConfiguredFront,
  type ControlPlaneConfiguration,
  type ServedControlPlane,
} from './control-planes.ts';
export { controlPlaneTypes } from './types.ts';
