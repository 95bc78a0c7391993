package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
)

type acmezClient struct {
	state  state
	client *acme.Client
}

func newAcmez(s state, transport http.RoundTripper) library {
	return &acmezClient{state: s, client: &acme.Client{
		Directory:    required("ACME_DIRECTORY"),
		HTTPClient:   &http.Client{Transport: transport},
		PollInterval: 100 * time.Millisecond,
	}}
}

func (c *acmezClient) account(ctx context.Context) (acme.Account, error) {
	if key, err := c.state.key("account.pem"); err == nil {
		return c.client.GetAccount(ctx, acme.Account{PrivateKey: key})
	}
	key, err := c.state.newKey("account.pem")
	if err != nil {
		return acme.Account{}, err
	}
	account := acme.Account{
		Contact:              []string{"mailto:ops@example.org"},
		TermsOfServiceAgreed: true,
		PrivateKey:           key,
	}
	// the key is base64url without padding, as it is shown
	if err := account.SetExternalAccountBinding(ctx, c.client, acme.EAB{
		KeyID: required("ACME_KID"), MACKey: required("ACME_HMAC"),
	}); err != nil {
		return acme.Account{}, err
	}
	return c.client.NewAccount(ctx, account)
}

func (c *acmezClient) issue(ctx context.Context, challenge string, names []string, replaces bool) error {
	account, err := c.account(ctx)
	if err != nil {
		return fmt.Errorf("account: %w", err)
	}
	order := acme.Order{}
	for _, name := range names {
		order.Identifiers = append(order.Identifiers, acme.Identifier{Type: identifierType(name), Value: name})
	}
	if replaces {
		certificate, err := c.state.certificate()
		if err != nil {
			return err
		}
		order.Replaces, err = acme.ARIUniqueIdentifier(certificate)
		if err != nil {
			return err
		}
	}
	order, err = c.client.NewOrder(ctx, account, order)
	if err != nil {
		return fmt.Errorf("order: %w", err)
	}
	for _, url := range order.Authorizations {
		authorization, err := c.client.GetAuthorization(ctx, account, url)
		if err != nil {
			return err
		}
		if authorization.Status == "valid" {
			continue
		}
		if err := c.show(ctx, account, authorization, challenge); err != nil {
			return err
		}
		if _, err := c.client.PollAuthorization(ctx, account, authorization); err != nil {
			return fmt.Errorf("authorization: %w", err)
		}
	}
	key, err := c.state.newKey("key.pem")
	if err != nil {
		return err
	}
	request, err := requestFor(names, key)
	if err != nil {
		return err
	}
	order, err = c.client.FinalizeOrder(ctx, account, order, request.Raw)
	if err != nil {
		return fmt.Errorf("finalize: %w", err)
	}
	chains, err := c.client.GetCertificateChain(ctx, account, order.Certificate)
	if err != nil {
		return err
	}
	return os.WriteFile(c.state.path("cert.pem"), chains[0].ChainPEM, 0o644)
}

func (c *acmezClient) show(ctx context.Context, account acme.Account, authorization acme.Authorization, wanted string) error {
	for _, challenge := range authorization.Challenges {
		if challenge.Type != wanted {
			continue
		}
		var err error
		switch wanted {
		case "http-01":
			err = present("http", challenge.Token, challenge.KeyAuthorization)
		case "dns-01":
			err = present("dns", challenge.DNS01TXTRecordName(), challenge.DNS01KeyAuthorization())
		case "dns-account-01":
			err = present("dns", challenge.DNSAccount01TXTRecordName(account), challenge.DNS01KeyAuthorization())
		case "tls-alpn-01":
			certificate, made := acmez.TLSALPN01ChallengeCert(challenge)
			if made != nil {
				return made
			}
			err = serveTLS(certificate)
		}
		if err != nil {
			return err
		}
		_, err = c.client.InitiateChallenge(ctx, account, challenge)
		return err
	}
	return fmt.Errorf("%s is not offered", wanted)
}

func (c *acmezClient) window(ctx context.Context) (time.Time, time.Time, error) {
	certificate, err := c.state.certificate()
	if err != nil {
		return time.Time{}, time.Time{}, err
	}
	information, err := c.client.GetRenewalInfo(ctx, certificate)
	return information.SuggestedWindow.Start, information.SuggestedWindow.End, err
}

func (c *acmezClient) revoke(ctx context.Context, byKey bool) error {
	certificate, err := c.state.certificate()
	if err != nil {
		return err
	}
	account, err := c.account(ctx)
	if err != nil {
		return err
	}
	if byKey {
		key, err := c.state.key("key.pem")
		if err != nil {
			return err
		}
		return c.client.RevokeCertificate(ctx, account, certificate, key, 0)
	}
	return c.client.RevokeCertificate(ctx, account, certificate, nil, 0)
}

func (c *acmezClient) changeKey(ctx context.Context) error {
	account, err := c.account(ctx)
	if err != nil {
		return err
	}
	key, err := c.state.newKey("next.pem")
	if err != nil {
		return err
	}
	if _, err := c.client.AccountKeyRollover(ctx, account, key); err != nil {
		return err
	}
	return c.state.keep("account.pem", key)
}

func macKey() []byte {
	key, err := base64.RawURLEncoding.DecodeString(required("ACME_HMAC"))
	if err != nil {
		panic(err)
	}
	return key
}
