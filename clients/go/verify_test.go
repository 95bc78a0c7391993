package meshca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"
)

type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// issue makes a certificate below an authority; without one, a root.
func issue(t *testing.T, above *authority, template x509.Certificate, marked bool) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	if marked {
		template.ExtraExtensions = []pkix.Extension{{Id: serverAuthority, Value: []byte{5, 0}}}
	}
	if above == nil {
		above = &authority{certificate: &template, key: key}
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, above.certificate, &key.PublicKey, above.key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{certificate: certificate, key: key}
}

func ca(name string) x509.Certificate {
	return x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
}

func leaf(t *testing.T, id string) x509.Certificate {
	t.Helper()
	parsed, err := url.Parse(id)
	if err != nil {
		t.Fatal(err)
	}
	return x509.Certificate{URIs: []*url.URL{parsed}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
}

func TestTheServerIsKnownByItsIDAndItsIssuer(t *testing.T) {
	const server = "spiffe://mesh.test/meshca/server"
	root := issue(t, nil, ca("root"), true)
	plainRoot := issue(t, nil, ca("plain"), false)
	issuing := issue(t, root, ca("issuing"), true)
	downstream := issue(t, root, ca("downstream"), false)
	company := issue(t, plainRoot, ca("company"), true)
	digest := sha256.Sum256(company.certificate.RawSubjectPublicKeyInfo)
	fingerprint := hex.EncodeToString(digest[:])
	for _, each := range []struct {
		name         string
		issuer       *authority
		id           string
		roots        []*authority
		fingerprints []string
		refusal      string
	}{
		{"an issuing authority with the mark", issuing, server, []*authority{root}, nil, ""},
		{"another ID", issuing, "spiffe://mesh.test/api", []*authority{root}, nil, "the server is"},
		{"a longer ID", issuing, server + "/x", []*authority{root}, nil, "the server is"},
		{"a CA downstream", downstream, server, []*authority{root}, nil, "no mark"},
		{"a root without the mark", company, server, []*authority{plainRoot}, nil, "no mark"},
		{"its fingerprint", company, server, []*authority{plainRoot}, []string{fingerprint}, ""},
		{"another fingerprint", issuing, server, []*authority{root}, []string{fingerprint}, "none of those"},
		{"a foreign root", issuing, server, []*authority{plainRoot}, nil, "the certificate of the server"},
	} {
		presented := issue(t, each.issuer, leaf(t, each.id), false)
		var roots []*x509.Certificate
		for _, trusted := range each.roots {
			roots = append(roots, trusted.certificate)
		}
		state := tls.ConnectionState{PeerCertificates: []*x509.Certificate{presented.certificate, each.issuer.certificate}}
		err := verifyServer(state, roots, &Config{TrustDomain: "mesh.test", IssuerFingerprints: each.fingerprints})
		if each.refusal == "" && err != nil || each.refusal != "" && (err == nil || !strings.Contains(err.Error(), each.refusal)) {
			t.Errorf("%s: %v", each.name, err)
		}
	}
}

func TestFingerprintsCountInEachUsualForm(t *testing.T) {
	plain := strings.Repeat("0a", 32)
	colons := strings.TrimSuffix(strings.Repeat("0A:", 32), ":")
	for _, form := range []string{plain, strings.ToUpper(plain), "sha256:" + plain, colons, " " + plain + " "} {
		if all, err := normalFingerprints([]string{form}); err != nil || all[0] != plain {
			t.Errorf("%q: %v, %v", form, all, err)
		}
	}
	for _, text := range []string{"", strings.Repeat("0a", 31), strings.Repeat("0g", 32)} {
		if _, err := normalFingerprints([]string{text}); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}
