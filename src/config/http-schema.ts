import { z } from 'zod';
import { count, path, port, seconds } from './fields.ts';

const trustedProxies = (listener: string) =>
  z
    .array(z.string())
    .max(64)
    .default([])
    .describe(
      `Addresses and networks (10.0.0.0/8) of proxies in front of the ${listener}, whose X-Forwarded-For is believed`,
    );

/** Federation with foreign trust domains: our bundle endpoints, and how those of others are asked. */
export const federationSchema = z
  .strictObject({
    web: z
      .strictObject({
        address: z
          .string()
          .min(1)
          .default('127.0.0.1')
          .describe('Address of the bundle endpoint with the profile https_web'),
        port: port('Port of the bundle endpoint with the profile https_web').default(8446),
        certFile: path(
          'PEM certificate chain that a CA of the web signed for the host name of the endpoint',
        ),
        keyFile: path('PEM key of federation.web.certFile'),
      })
      .optional()
      .describe('Absent: there is no bundle endpoint with the profile https_web'),
    spiffe: z
      .strictObject({
        address: z
          .string()
          .min(1)
          .default('127.0.0.1')
          .describe('Address of the bundle endpoint with the profile https_spiffe'),
        port: port('Port of the bundle endpoint with the profile https_spiffe').default(8445),
      })
      .optional()
      .describe('Absent: there is no bundle endpoint with the profile https_spiffe'),
    connections: count('Maximum number of connections of each bundle endpoint').default(256),
    pollMinimumSeconds: seconds(
      'A foreign endpoint is asked no more often, whatever the refresh hint of its bundle',
    ).default(10),
    pollMaximumSeconds: seconds(
      'A foreign endpoint is asked no less often, whatever the refresh hint of its bundle',
    ).default(3_600),
    timeoutSeconds: seconds('A foreign endpoint that takes longer has failed').default(10),
  })
  .prefault({});

/** The operations port. */
export const opsSchema = z
  .strictObject({
    address: z
      .string()
      .min(1)
      .default('127.0.0.1')
      .describe(
        'Address of the operations port (/metrics, /live, /ready); must be loopback unless it has TLS',
      ),
    port: port('Operations port').default(9464),
    tlsCertFile: path('PEM certificate chain for the operations port').optional(),
    tlsKeyFile: path('PEM key for the operations port').optional(),
  })
  .prefault({});

/** The HTTP front: what the server offers to others over HTTP. */
export const httpSchema = z
  .strictObject({
    publicBaseUrl: z
      .url({ protocol: /^https?$/ })
      .optional()
      .describe(
        'Base URL under which clients reach the HTTP ports, for resources that contain their own URL',
      ),
    plain: z
      .strictObject({
        enabled: z
          .boolean()
          .default(true)
          .describe(
            'Whether the plain HTTP port is open. It offers CRLs, and the bundle only if its address is loopback',
          ),
        address: z.string().min(1).default('127.0.0.1').describe('Address of the plain HTTP port'),
        port: port('Plain HTTP port').default(8480),
        trustedProxies: trustedProxies('plain HTTP port'),
      })
      .prefault({}),
    tls: z
      .strictObject({
        enabled: z
          .boolean()
          .default(false)
          .describe('Whether the HTTPS port is open, for the bundle and CRLs'),
        address: z.string().min(1).default('127.0.0.1').describe('Address of the HTTPS port'),
        port: port('HTTPS port').default(8444),
        trustedProxies: trustedProxies('HTTPS port'),
        certFile: path(
          "PEM certificate chain of the HTTPS port; default: the server's own certificate, " +
            'which is renewed automatically',
        ).optional(),
        keyFile: path('PEM key of http.tls.certFile').optional(),
      })
      .prefault({}),
    connections: count('Maximum number of connections of each HTTP port').default(1_024),
    headSeconds: seconds('A request whose head takes longer is refused (408)').default(10),
    requestSeconds: seconds('A request that takes longer with its body is refused (408)').default(
      30,
    ),
    answerSeconds: seconds('A client that takes longer to read an answer is disconnected').default(
      60,
    ),
  })
  .prefault({});
