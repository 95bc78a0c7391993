package main

import (
	"context"
	"crypto"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/cert-manager/cert-manager/pkg/acme/util"
	"github.com/cert-manager/cert-manager/third_party/forked/acme"
)

// xClient uses the fork of golang.org/x/crypto/acme that cert-manager uses.
type xClient struct {
	state  state
	client *acme.Client
}

func newX(s state, transport http.RoundTripper) library {
	return &xClient{state: s, client: &acme.Client{
		DirectoryURL: required("ACME_DIRECTORY"),
		HTTPClient:   &http.Client{Transport: transport},
		RetryBackoff: util.RetryBackoff,
	}}
}

func (c *xClient) account(ctx context.Context) error {
	if key, err := c.state.key("account.pem"); err == nil {
		c.client.Key = key
		_, err := c.client.GetReg(ctx, "")
		return err
	}
	key, err := c.state.newKey("account.pem")
	if err != nil {
		return err
	}
	c.client.Key = key
	_, err = c.client.Register(ctx, &acme.Account{
		Contact:                []string{"mailto:ops@example.org"},
		ExternalAccountBinding: &acme.ExternalAccountBinding{KID: required("ACME_KID"), Key: macKey()},
	}, acme.AcceptTOS)
	return err
}

func (c *xClient) issue(ctx context.Context, challenge string, names []string, replaces bool) error {
	if err := c.account(ctx); err != nil {
		return fmt.Errorf("account: %w", err)
	}
	ids := []acme.AuthzID{}
	for _, name := range names {
		ids = append(ids, acme.AuthzID{Type: identifierType(name), Value: name})
	}
	options := []acme.OrderOption{}
	if replaces {
		certificate, err := c.state.certificate()
		if err != nil {
			return err
		}
		option, err := acme.WithOrderReplacesCertificate(certificate)
		if err != nil {
			return err
		}
		options = append(options, option)
	}
	order, err := c.client.AuthorizeOrder(ctx, ids, options...)
	if err != nil {
		return fmt.Errorf("order: %w", err)
	}
	for _, url := range order.AuthzURLs {
		authorization, err := c.client.GetAuthorization(ctx, url)
		if err != nil {
			return err
		}
		if authorization.Status == acme.StatusValid {
			continue
		}
		if err := c.show(ctx, authorization, challenge); err != nil {
			return err
		}
		if _, err := c.client.WaitAuthorization(ctx, url); err != nil {
			return fmt.Errorf("authorization: %w", err)
		}
	}
	if _, err := c.client.WaitOrder(ctx, order.URI); err != nil {
		return fmt.Errorf("wait: %w", err)
	}
	key, err := c.state.newKey("key.pem")
	if err != nil {
		return err
	}
	request, err := requestFor(names, key)
	if err != nil {
		return err
	}
	chain, _, err := c.client.CreateOrderCert(ctx, order.FinalizeURL, request.Raw, true)
	if err != nil {
		return fmt.Errorf("finalize: %w", err)
	}
	text := []byte{}
	for _, der := range chain {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return os.WriteFile(c.state.path("cert.pem"), text, 0o644)
}

func (c *xClient) show(ctx context.Context, authorization *acme.Authorization, wanted string) error {
	for _, challenge := range authorization.Challenges {
		if challenge.Type != wanted {
			continue
		}
		name := authorization.Identifier.Value
		switch wanted {
		case "http-01":
			answer, err := c.client.HTTP01ChallengeResponse(challenge.Token)
			if err == nil {
				err = present("http", challenge.Token, answer)
			}
			if err != nil {
				return err
			}
		case "dns-01":
			record, err := c.client.DNS01ChallengeRecord(challenge.Token)
			if err == nil {
				err = present("dns", "_acme-challenge."+name, record)
			}
			if err != nil {
				return err
			}
		case "tls-alpn-01":
			certificate, err := c.client.TLSALPN01ChallengeCert(challenge.Token, name)
			if err == nil {
				err = serveTLS(&certificate)
			}
			if err != nil {
				return err
			}
		default:
			return errors.New("the library does not know " + wanted)
		}
		_, err := c.client.Accept(ctx, challenge)
		return err
	}
	return fmt.Errorf("%s is not offered", wanted)
}

func (c *xClient) window(ctx context.Context) (start, end time.Time, err error) {
	certificate, err := c.state.certificate()
	if err != nil {
		return start, end, err
	}
	information, err := c.client.GetRenewalInfo(ctx, certificate)
	if err != nil {
		return start, end, err
	}
	return information.SuggestedWindow.Start, information.SuggestedWindow.End, nil
}

func (c *xClient) revoke(ctx context.Context, byKey bool) error {
	certificate, err := c.state.certificate()
	if err != nil {
		return err
	}
	if err := c.account(ctx); err != nil {
		return err
	}
	var key crypto.Signer
	if byKey {
		if key, err = c.state.key("key.pem"); err != nil {
			return err
		}
	}
	return c.client.RevokeCert(ctx, key, certificate.Raw, acme.CRLReasonUnspecified)
}

func (c *xClient) changeKey(ctx context.Context) error {
	if err := c.account(ctx); err != nil {
		return err
	}
	key, err := c.state.newKey("next.pem")
	if err != nil {
		return err
	}
	if err := c.client.AccountKeyRollover(ctx, key); err != nil {
		return err
	}
	return c.state.keep("account.pem", key)
}
