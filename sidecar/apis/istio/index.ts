export { istioApi, istioApiLimits, type IstioApiDependencies } from './istio-api.ts';
export { SocketCertificate } from './socket-certificate.ts';
