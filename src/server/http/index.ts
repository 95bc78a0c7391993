export { acmePlugin } from './plugins/acme/index.ts';
export { HttpFront, type HttpFrontSettings } from './front.ts';
export type { HttpIdentity, HttpObserver } from './listener.ts';
export type { HttpAnswer, HttpPlugin, HttpRequest, HttpRoute } from './plugin.ts';
export { FederationFront } from './federation-front.ts';
export {
  bundleEndpointPlugin,
  bundlePlugin,
  crlPlugin,
  issuerPlugin,
  namesPlugin,
} from './plugins/documents.ts';
export { ocspPlugin } from './plugins/ocsp.ts';
export { startOperationsPort } from './operations-port.ts';
