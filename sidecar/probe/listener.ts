/** A listener at which a handshake proves what a server presents. */
export interface ProvenListener {
  /** `host:port`, or the absolute path of a Unix socket. */
  readonly address: string;
  /** SNI. Undefined: none. */
  readonly serverName: string | undefined;
  /** What comes before TLS. */
  readonly protocol: 'tls' | 'postgresql' | 'mysql' | 'smtp' | 'ldap';
}

/** What one handshake showed. No trust is judged: it proves what is presented, and who has the key. */
export interface Shown {
  /** Of the leaf, lower-case hex. */
  readonly serial: string;
  /** Of the leaf in DER, lower-case hex. */
  readonly leafSha256: string;
  /** Subject names (DER) in the server's CertificateRequest. Undefined: it asks for no certificate. */
  readonly caNamesDer: readonly Buffer[] | undefined;
  readonly tlsVersion: '1.2' | '1.3';
}
