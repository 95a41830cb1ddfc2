package external

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/client_golang/api"
	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
	prometheusmodel "github.com/prometheus/common/model"

	"sluice.dev/sluice/model"
)

const (
	// queryTimeout bounds a query, also by Prometheus itself.
	queryTimeout = 10 * time.Second
	// mostBody bounds an answer, in bytes.
	mostBody = 1 << 20
	// metricName is what a query's value is called in sentences.
	metricName = "the query"
)

// errTooMuch is an answer that is too large.
var errTooMuch = fmt.Errorf("the answer has more than %d bytes", mostBody)

// prometheus is an instant query of a Prometheus server.
type prometheus struct {
	api    v1.API
	query  string
	target float64
	done   func()
}

func newPrometheus(q *model.PrometheusQuery, target float64, d dialer) (*prometheus, error) {
	config, err := clientTLS(q.TLS, "")
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		DialContext: d.dial, TLSClientConfig: config, TLSHandshakeTimeout: dialTimeout, ForceAttemptHTTP2: true,
		MaxIdleConns: 1, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: mostHeaders,
	}
	client, err := api.NewClient(api.Config{Address: q.Address, Client: &http.Client{
		Transport:     bounded{transport},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}})
	if err != nil {
		return nil, fmt.Errorf("address %s is no URL", foreign(q.Address))
	}
	return &prometheus{api: v1.NewAPI(client), query: q.Query, target: target, done: transport.CloseIdleConnections}, nil
}

func (p *prometheus) close() { p.done() }

func (p *prometheus) watch(context.Context, func(bool)) error { return errNoPush }

// read is active while the value is over 0.
func (p *prometheus) read(ctx context.Context) (reading, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	answer, _, err := p.api.Query(ctx, p.query, time.Now(), v1.WithTimeout(queryTimeout))
	if err != nil {
		return reading{}, queryError(ctx, err)
	}
	value, err := number(answer)
	if err != nil {
		return reading{}, err
	}
	return reading{active: value > 0, metrics: []model.ScalerMetric{{Name: metricName, Value: value, Target: p.target}}}, nil
}

// number returns the one number of an answer.
func number(answer prometheusmodel.Value) (float64, error) {
	switch v := answer.(type) {
	case *prometheusmodel.Scalar:
		return float64(v.Value), nil
	case prometheusmodel.Vector:
		switch {
		case len(v) == 0:
			return 0, errors.New("the query returned nothing; where that means none, let it end with `or vector(0)`")
		case len(v) > 1:
			return 0, fmt.Errorf("the query returned %d series, want one: aggregate them, as with sum()", len(v))
		case v[0].Histogram != nil:
			return 0, errors.New("the query returned a histogram, want a number")
		}
		return float64(v[0].Value), nil
	}
	return 0, fmt.Errorf("the query returned a %s, want one number", answer.Type())
}

// queryError is why a query failed, with what Prometheus says about the query. The body of any other answer is not shown: it may be of a
// server that the user cannot reach.
func queryError(ctx context.Context, err error) error {
	var of *v1.Error
	var transport *url.Error
	switch {
	case errors.Is(err, errTooMuch):
		return errTooMuch
	case ctx.Err() != nil:
		return fmt.Errorf("the query did not end within %v", queryTimeout)
	case errors.As(err, &of) && of.Type == v1.ErrBadResponse:
		what := "the answer is not one of Prometheus"
		if strings.HasPrefix(of.Msg, "bad response code") { // other messages have a part of the body
			what = of.Msg + "; redirects are not followed"
		}
		return fmt.Errorf("the query failed: %s", what)
	case errors.As(err, &of):
		return fmt.Errorf("the query failed: %s: %s", of.Type, foreign(of.Msg))
	case errors.As(err, &transport):
		return fmt.Errorf("the query failed: %s", foreign(transport.Err.Error()))
	}
	return errors.New("the query failed: the answer is not one number of Prometheus")
}

// bounded bounds the bodies of answers.
type bounded struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := b.RoundTripper.RoundTrip(r)
	if err == nil {
		response.Body = &boundedBody{ReadCloser: response.Body, left: mostBody}
	}
	return response, err
}

type boundedBody struct {
	io.ReadCloser
	left int
}

// Read implements io.Reader.
func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, errTooMuch
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left+1)])
	if b.left -= n; b.left < 0 {
		return 0, errTooMuch
	}
	return n, err
}
