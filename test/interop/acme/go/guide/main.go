// Command shop gets a certificate for one name.
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"os"
	"sync"

	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
)

// answers serves the challenges of http-01.
type answers struct{ sync.Map }

func (a *answers) Present(_ context.Context, c acme.Challenge) error {
	a.Store(c.HTTP01ResourcePath(), c.KeyAuthorization)
	return nil
}

func (a *answers) CleanUp(_ context.Context, c acme.Challenge) error {
	a.Delete(c.HTTP01ResourcePath())
	return nil
}

func (a *answers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if answer, ok := a.Load(r.URL.Path); ok {
		_, _ = io.WriteString(w, answer.(string))
	}
}

func main() {
	if err := run(context.Background(), os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, name string) error {
	solver := &answers{}
	go func() { log.Fatal(http.ListenAndServe(":80", solver)) }()
	client := acmez.Client{
		Client:           &acme.Client{Directory: "https://ca.example.org/acme/directory"},
		ChallengeSolvers: map[string]acmez.Solver{acme.ChallengeTypeHTTP01: solver},
	}
	// keep this key: it is the account
	accountKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	account := acme.Account{TermsOfServiceAgreed: true, PrivateKey: accountKey}
	eab := acme.EAB{KeyID: os.Getenv("ACME_KID"), MACKey: os.Getenv("ACME_HMAC")}
	if err := account.SetExternalAccountBinding(ctx, client.Client, eab); err != nil {
		return err
	}
	if account, err = client.NewAccount(ctx, account); err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	chains, err := client.ObtainCertificateForSANs(ctx, account, key, []string{name})
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if err := os.WriteFile("/etc/ssl/private/shop.key", text, 0o600); err != nil {
		return err
	}
	return os.WriteFile("/etc/ssl/shop.pem", chains[0].ChainPEM, 0o644)
}
