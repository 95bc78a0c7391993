package meshca

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	firstWait   = 500 * time.Millisecond
	longestWait = time.Minute
)

// backoff spreads repetitions: 0.5 s, 1 s, 2 s … up to a minute, each with jitter.
type backoff struct{ wait time.Duration }

func newBackoff() *backoff { return &backoff{wait: firstWait} }

func (b *backoff) reset() { b.wait = firstWait }

func (b *backoff) sleep(ctx context.Context) {
	timer := time.NewTimer(b.wait/2 + rand.N(b.wait/2))
	defer timer.Stop()
	b.wait = min(2*b.wait, longestWait)
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
