package meshca

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// The mark that a root of a server puts into its own issuing authorities, and into no CA downstream.
var serverAuthority = asn1.ObjectIdentifier{1, 2, 840, 113556, 1, 8000, 2554, 14914, 56170, 64652, 20426, 42641, 10257499, 7236474}

// verifyServer checks the chain, the exact SPIFFE ID, and that the issuer is an issuing authority of
// the server: any other CA of the trust domain could issue this ID too.
func verifyServer(state tls.ConnectionState, roots []*x509.Certificate, config *Config) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("meshca: the server presented no certificate")
	}
	leaf := state.PeerCertificates[0]
	options := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	for _, root := range roots {
		options.Roots.AddCert(root)
	}
	for _, above := range state.PeerCertificates[1:] {
		options.Intermediates.AddCert(above)
	}
	chains, err := leaf.Verify(options)
	if err != nil {
		return fmt.Errorf("meshca: the certificate of the server: %w", err)
	}
	expected := "spiffe://" + config.TrustDomain + "/meshca/server"
	if len(leaf.URIs) != 1 || leaf.URIs[0].String() != expected {
		return fmt.Errorf("meshca: the server is %v, not %s", leaf.URIs, expected)
	}
	for _, chain := range chains {
		if err = verifyIssuer(chain, config.IssuerFingerprints); err == nil {
			return nil
		}
	}
	return err
}

// normalFingerprints are in lower-case hex.
func normalFingerprints(fingerprints []string) ([]string, error) {
	var all []string
	for _, given := range fingerprints {
		text := strings.TrimPrefix(strings.ToLower(strings.TrimSpace(given)), "sha256:")
		digest, err := hex.DecodeString(strings.ReplaceAll(text, ":", ""))
		if err != nil || len(digest) != sha256.Size {
			return nil, fmt.Errorf("meshca: the fingerprint %q is not 64 hexadecimal digits", given)
		}
		all = append(all, hex.EncodeToString(digest))
	}
	return all, nil
}

func verifyIssuer(chain []*x509.Certificate, fingerprints []string) error {
	if len(chain) < 2 {
		return errors.New("meshca: the server's certificate is its own root")
	}
	digest := sha256.Sum256(chain[1].RawSubjectPublicKeyInfo)
	fingerprint := hex.EncodeToString(digest[:])
	if len(fingerprints) > 0 {
		if slices.Contains(fingerprints, fingerprint) {
			return nil
		}
		return fmt.Errorf("meshca: the issuer of the server's certificate has the fingerprint %s, which is none of those that were given", fingerprint)
	}
	if len(chain) > 2 && !slices.ContainsFunc(chain[1:], func(above *x509.Certificate) bool { return !isMarked(above) }) {
		return nil
	}
	return fmt.Errorf("meshca: the issuer of the server's certificate has no mark of an authority of the server; give its fingerprint if you know it: %s", fingerprint)
}

func isMarked(certificate *x509.Certificate) bool {
	return slices.ContainsFunc(certificate.Extensions, func(each pkixExtension) bool {
		return each.Id.Equal(serverAuthority)
	})
}

// SetDigest is SHA-256 over the sorted SHA-256 digests of these encodings: of root certificates
// (DER), or of the SubjectPublicKeyInfo of JWT keys.
func SetDigest(encodings [][]byte) []byte {
	digests := make([][]byte, 0, len(encodings))
	for _, encoding := range encodings {
		digest := sha256.Sum256(encoding)
		digests = append(digests, digest[:])
	}
	slices.SortFunc(digests, bytes.Compare)
	all := sha256.Sum256(bytes.Join(digests, nil))
	return all[:]
}
