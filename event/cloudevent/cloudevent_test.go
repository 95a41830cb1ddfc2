package cloudevent

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/binding"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"

	"sluice.dev/sluice/contract"
)

// seen is what an application got.
type seen struct {
	header http.Header
	body   string
}

// application records its requests, and answers with what the function returns.
type application struct {
	mu   sync.Mutex
	got  []seen
	answ func(w http.ResponseWriter, r *http.Request)
}

func (a *application) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	a.mu.Lock()
	a.got = append(a.got, seen{r.Header.Clone(), string(body)})
	a.mu.Unlock()
	r.Body = io.NopCloser(bytes.NewReader(body))
	if a.answ != nil {
		a.answ(w, r)
	}
}

// start serves an application behind a Handler, on a real socket.
func start(t *testing.T, limits Limits) (*application, string) {
	t.Helper()
	app := &application{}
	server := httptest.NewServer(&Handler{Next: app, Limits: limits})
	t.Cleanup(server.Close)
	return app, server.URL
}

func post(t *testing.T, url, body string, header map[string]string) (int, http.Header, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range header {
		r.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(got)
}

func TestOtherRequestsPassAsTheyAre(t *testing.T) {
	app, url := start(t, Limits{})
	body := "{\"specversion\":\"9\"}\x00"
	status, _, _ := post(t, url+"/a?b", body, map[string]string{"Content-Type": "application/json", "X-Other": "1", "Ce-Id": "a b"})
	if status != http.StatusOK || len(app.got) != 1 || app.got[0].body != body {
		t.Fatalf("%d, %+v", status, app.got)
	}
	for _, name := range []string{"Ce-Source", "Sluice-Deadline", "Sluice-Sender"} {
		if app.got[0].header.Get(name) != "" {
			t.Errorf("the request got a header %s", name)
		}
	}
}

// The examples are those of the HTTP binding and of the JSON format, 1.0.2.
func TestExamplesOfTheSpecification(t *testing.T) {
	structuredBody := `{
    "specversion" : "1.0",
    "type" : "com.example.someevent",
    "source" : "/mycontext/4",
    "id" : "1234-1234-1234",
    "time" : "2018-04-05T17:31:00Z",
    "comexampleextension1" : "value",
    "comexampleothervalue" : 5,
    "datacontenttype" : "text/xml",
    "data" : "<much wow=\"xml\"/>"
}`
	base64Body := `{"specversion":"1.0","type":"com.example.someevent","source":"/mycontext","id":"C234-1234-1234","unsetextension":null,
 "datacontenttype":"application/vnd.apache.thrift.binary","data_base64":"AQID"}`
	for _, test := range []struct {
		name   string
		header map[string]string
		body   string
		id     string
	}{
		{"binary", map[string]string{
			"ce-specversion": "1.0", "ce-type": "com.example.someevent", "ce-time": "2018-04-05T03:56:24Z", "ce-id": "1234-1234-1234",
			"ce-source": "/mycontext/subcontext", "Content-Type": "application/json; charset=utf-8",
		}, `{"application":"data"}`, "1234-1234-1234"},
		{"binary without data", map[string]string{
			"ce-specversion": "1.0", "ce-type": "t", "ce-id": "9", "ce-source": "/s", "ce-subject": "Euro%20%E2%82%AC%20%F0%9F%98%80",
		}, "", "9"},
		{"structured", map[string]string{"Content-Type": "application/cloudevents+json; charset=UTF-8"}, structuredBody, "1234-1234-1234"},
		{"structured with bytes", map[string]string{"Content-Type": "application/cloudevents+json"}, base64Body, "C234-1234-1234"},
		{"version 0.3", map[string]string{"Content-Type": "application/cloudevents+json"},
			`{"specversion":"0.3","type":"t","source":"/s","id":"3","datacontentencoding":"base64","data":"AQID"}`, "3"},
	} {
		t.Run(test.name, func(t *testing.T) {
			app, url := start(t, Limits{})
			app.answ = func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Ce-Id", "answer")
				w.WriteHeader(http.StatusAccepted)
				fmt.Fprint(w, "answered")
			}
			status, header, answer := post(t, url, test.body, test.header)
			if status != http.StatusAccepted || header.Get("Ce-Id") != "answer" || answer != "answered" {
				t.Errorf("the response is %d %v %q", status, header, answer)
			}
			if len(app.got) != 1 || app.got[0].body != test.body {
				t.Fatalf("the application got %+v", app.got)
			}
			for name, value := range test.header {
				if got := app.got[0].header.Get(name); got != value {
					t.Errorf("header %s is %q, want %q", name, got, value)
				}
			}
			if got := app.got[0].header.Get("Ce-Id"); got != test.id {
				t.Errorf("the id is %q, want %q", got, test.id)
			}
		})
	}
}

// TestClientOfTheSDK sends and receives with the SDK alone on both sides.
func TestClientOfTheSDK(t *testing.T) {
	for _, test := range []struct {
		name   string
		encode func(context.Context) context.Context
		want   binding.Encoding
	}{
		{"binary", cloudevents.WithEncodingBinary, binding.EncodingBinary},
		{"structured", cloudevents.WithEncodingStructured, binding.EncodingStructured},
	} {
		t.Run(test.name, func(t *testing.T) {
			app, url := start(t, Limits{})
			var got *cloudevents.Event
			var mode binding.Encoding
			app.answ = func(w http.ResponseWriter, r *http.Request) {
				m := cehttp.NewMessageFromHttpRequest(r)
				mode = m.ReadEncoding()
				var err error
				if got, err = binding.ToEvent(r.Context(), m); err != nil {
					t.Error(err)
				}
				reply := got.Clone()
				reply.SetID("reply")
				if err := cehttp.WriteResponseWriter(r.Context(), binding.ToMessage(&reply), http.StatusOK, w); err != nil {
					t.Error(err)
				}
			}
			c, err := cloudevents.NewClientHTTP(cloudevents.WithTarget(url))
			if err != nil {
				t.Fatal(err)
			}
			sent := cloudevents.NewEvent()
			sent.SetID("ü 1%")
			sent.SetSource("https://example.com/shop")
			sent.SetType("order")
			sent.SetExtension("sluicepriority", "high")
			if err := sent.SetData("application/json", map[string]int{"a": 1}); err != nil {
				t.Fatal(err)
			}
			reply, result := c.Request(test.encode(t.Context()), sent)
			if !cloudevents.IsACK(result) || reply == nil || reply.ID() != "reply" {
				t.Fatalf("reply %v, %v", reply, result)
			}
			if mode != test.want || !reflect.DeepEqual(sent.Data(), got.Data()) || got.Source() != sent.Source() {
				t.Errorf("in mode %v the application got\n%v\nwant\n%v", mode, got, sent)
			}
			if p := app.got[0].header.Get(contract.PriorityHeader); p != "high" {
				t.Errorf("the priority is %q", p)
			}
		})
	}
}

func TestTermsOfATask(t *testing.T) {
	app, url := start(t, Limits{})
	post(t, url, `{"specversion":"1.0","id":"1","source":"/s 1","type":"t","sluicedeadline":"2090-01-01T00:00:00Z","sluicepriority":"low"}`,
		map[string]string{"Content-Type": structuredType, contract.PriorityHeader: "high", "Ce-Id": "forged", "Ce-Foo": "forged"})
	if len(app.got) != 1 {
		t.Fatal("the application got no event")
	}
	for name, want := range map[string]string{
		contract.DeadlineHeader: "2090-01-01T00:00:00Z", contract.PriorityHeader: "low", contract.EventSourceHeader: "/s%201",
		"Ce-Id": "1", "Ce-Foo": "",
	} {
		if got := app.got[0].header.Get(name); got != want {
			t.Errorf("header %s is %q, want %q", name, got, want)
		}
	}
}

func TestBatch(t *testing.T) {
	app, url := start(t, Limits{Answer: 10})
	app.answ = func(w http.ResponseWriter, r *http.Request) {
		switch id := r.Header.Get("Ce-Id"); id {
		case "busy":
			w.Header().Set("Retry-After", "7")
			http.Error(w, "no", http.StatusTooManyRequests)
		case "task":
			w.Header().Set("Location", "/tasks/1")
			w.WriteHeader(http.StatusAccepted)
		case "gone":
			panic(http.ErrAbortHandler)
		case "bytes":
			_, _ = w.Write([]byte{0xff})
		default:
			fmt.Fprint(w, "a long answer")
		}
	}
	one := func(id string) string {
		return fmt.Sprintf(`{ "specversion":"1.0", "id":%q, "source":"/s", "type":"t", "data": {"n": 1} }`, id)
	}
	send := func(ids ...string) (int, http.Header, []Answer) {
		events := make([]string, len(ids))
		for i, id := range ids {
			events[i] = one(id)
		}
		status, header, body := post(t, url, "["+strings.Join(events, ",")+"]", map[string]string{"Content-Type": batchType})
		var answers []Answer
		if err := json.Unmarshal([]byte(body), &answers); err != nil {
			t.Fatalf("%q: %v", body, err)
		}
		return status, header, answers
	}
	status, _, answers := send("a", "task", "bytes")
	want := []Answer{
		{ID: "a", Source: "/s", Status: 200, Body: "a long ans", Cut: true},
		{ID: "task", Source: "/s", Status: 202, Location: "/tasks/1"},
		{ID: "bytes", Source: "/s", Status: 200, BodyBase64: []byte{0xff}},
	}
	if status != http.StatusAccepted || !reflect.DeepEqual(answers, want) {
		t.Errorf("%d %+v, want %+v", status, answers, want)
	}
	for _, got := range app.got {
		if got.body != one(got.header.Get("Ce-Id")) || got.header.Get("Content-Type") != structuredType {
			t.Errorf("the application got %+v", got)
		}
	}
	if status, header, _ := send("a", "busy"); status != http.StatusTooManyRequests || header.Get("Retry-After") != "7" {
		t.Errorf("with an event that was refused: %d %v", status, header)
	}
	if status, _, answers := send("a", "gone"); status != http.StatusBadGateway || answers[0].Status != 200 || answers[1].Status != 502 {
		t.Errorf("with one that was given up: %d %+v", status, answers)
	}
	if status, _, answers := send(); status != http.StatusOK || len(answers) != 0 {
		t.Errorf("an empty batch: %d %+v", status, answers)
	}
}

func TestBadEventsAreRefused(t *testing.T) {
	good := `{"specversion":"1.0","id":"1","source":"/s","type":"t"}`
	structuredHeader := map[string]string{"Content-Type": structuredType}
	batchHeader := map[string]string{"Content-Type": batchType}
	bin := func(name, value string) map[string]string {
		h := map[string]string{"Ce-Specversion": "1.0", "Ce-Id": "1", "Ce-Source": "/s", "Ce-Type": "t"}
		h[name] = value
		return h
	}
	for _, test := range []struct {
		name   string
		header map[string]string
		body   string
		status int
		says   string
	}{
		{"binary without id", bin("Ce-Id", ""), "", 400, "attribute id"},
		{"binary of an unknown version", bin("Ce-Specversion", "2.0"), "", 400, `attribute specversion: "2.0" is not known, want 1.0 or 0.3`},
		{"binary with a wrong time", bin("Ce-Time", "yesterday"), "", 400, "attribute time"},
		{"binary with a wrong deadline", bin("Ce-Sluicedeadline", "soon"), "", 400, "attribute sluicedeadline"},
		{"binary with a wrong priority", bin("Ce-Sluicepriority", "1"), "", 400, "attribute sluicepriority"},
		{"binary with a wrong name", bin("Ce-A_b", "1"), "", 400, "attribute a_b"},
		{"structured without id", structuredHeader, `{"specversion":"1.0","source":"/s","type":"t"}`, 400, "attribute id"},
		{"without source", structuredHeader, `{"specversion":"1.0","id":"1","type":"t"}`, 400, "attribute source"},
		{"without type", structuredHeader, `{"specversion":"1.0","id":"1","source":"/s"}`, 400, "attribute type"},
		{"without version", structuredHeader, `{"id":"1","source":"/s","type":"t"}`, 400, "attribute specversion: it is missing"},
		{"of an unknown version", structuredHeader, `{"specversion":"1","id":"1","source":"/s","type":"t"}`, 400, "attribute specversion"},
		{"an id that is a number", structuredHeader, `{"specversion":"1.0","id":1,"source":"/s","type":"t"}`, 400, "attribute id: want a string"},
		{"an attribute that is an object", structuredHeader, `{"specversion":"1.0","id":"1","source":"/s","type":"t","a":{}}`, 400, `attribute "a"`},
		{"an attribute with a fraction", structuredHeader, `{"specversion":"1.0","id":"1","source":"/s","type":"t","a":1.5}`, 400, `attribute "a"`},
		{"data twice", structuredHeader, `{"specversion":"1.0","id":"1","source":"/s","type":"t","data":1,"data_base64":""}`, 400, "data_base64"},
		{"no JSON", structuredHeader, `{`, 400, "not a JSON object"},
		{"null", structuredHeader, `null`, 400, "not a JSON object"},
		{"no array", batchHeader, good, 400, "no JSON array"},
		{"an array without end", batchHeader, "[" + good, 400, "no end"},
		{"two arrays", batchHeader, "[][]", 400, "more than one"},
		{"a batch with a bad event", batchHeader, "[" + good + `,{"specversion":"1.0"}]`, 400, "event 1 of the batch is not valid: attribute id"},
		{"a batch over the limit", batchHeader, "[" + good + "," + good + "," + good + "]", 413, "more than 2 events"},
		{"a body over the limit", structuredHeader, `{"data":"` + strings.Repeat("x", 1000) + `"}`, 413, "longer than the 1000 bytes"},
		{"another format", map[string]string{"Content-Type": "application/cloudevents+xml"}, good, 415, structuredType},
		{"another format of a batch", map[string]string{"Content-Type": "application/cloudevents-batch+xml"}, good, 415, batchType},
		{"no format", map[string]string{"Content-Type": "application/cloudevents"}, good, 415, structuredType},
		{"another charset", map[string]string{"Content-Type": structuredType + "; charset=latin1"}, good, 415, "UTF-8"},
		{"a wrong parameter", map[string]string{"Content-Type": structuredType + "; charset=\""}, good, 415, "cannot be read"},
		{"compressed", map[string]string{"Content-Type": structuredType, "Content-Encoding": "gzip"}, good, 415, "gzip"},
	} {
		t.Run(test.name, func(t *testing.T) {
			app, url := start(t, Limits{Events: 2, Body: 1000})
			status, header, body := post(t, url, test.body, test.header)
			if status != test.status || !strings.Contains(body, test.says) || header.Get(contract.ReasonHeader) != contract.ReasonBadEvent {
				t.Errorf("%d %q, want %d with %q", status, body, test.status, test.says)
			}
			if len(app.got) != 0 {
				t.Error("the application got the event")
			}
		})
	}
}

func TestABodyWithoutLengthIsBounded(t *testing.T) {
	app, url := start(t, Limits{Body: 1000})
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, io.LimitReader(zeros{}, 2000))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", batchType)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusRequestEntityTooLarge || len(app.got) != 0 {
		t.Errorf("the response is %d", resp.StatusCode)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }

func FuzzEvents(f *testing.F) {
	f.Add([]byte(`{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{"a":1},"n":1,"b":true}`), "1", "/s")
	f.Add([]byte(`[{"specversion":"0.3","id":"1","source":"/s","type":"t","datacontentencoding":"base64","data":""}]`), "%", "\x00")
	f.Add([]byte(`[null,{"specversion":"1.0","time":"2020-01-01T00:00:00Z","dataschema":"%"}]`), " ü", "a%20b")
	f.Fuzz(func(t *testing.T, body []byte, id, source string) {
		if e, err := fromJSON(body); err == nil && (e.ID == "" || e.Source == "" || e.Type == "") {
			t.Errorf("an event without a required attribute: %+v", e)
		}
		if items, wrong := split(body, 10); wrong == nil {
			for _, it := range items {
				if !json.Valid(it.raw) {
					t.Errorf("event %q is no JSON", it.raw)
				}
			}
		}
		h := http.Header{"Ce-Specversion": {"1.0"}, "Ce-Type": {"t"}, "Ce-Id": {encodeHeader(id)}, "Ce-Source": {encodeHeader(source)}}
		if e, err := fromHeader(h); err == nil && (e.ID != id || e.Source != source) {
			t.Errorf("%q of %q came as %q of %q", id, source, e.ID, e.Source)
		}
	})
}

func BenchmarkHandler(b *testing.B) {
	body := []byte(`{"specversion":"1.0","id":"1","source":"/s","type":"t","data":"` + strings.Repeat("x", 1000) + `"}`)
	h := &Handler{Next: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
	for name, header := range map[string]http.Header{
		"none":       {"Content-Type": {"application/json"}},
		"binary":     {"Ce-Specversion": {"1.0"}, "Ce-Id": {"1"}, "Ce-Source": {"/s"}, "Ce-Type": {"t"}},
		"structured": {"Content-Type": {structuredType}},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r := &http.Request{
					Method: http.MethodPost, Header: header, ContentLength: int64(len(body)), Body: io.NopCloser(bytes.NewReader(body)),
				}
				h.ServeHTTP(&recorder{header: http.Header{}}, r)
			}
		})
	}
}
