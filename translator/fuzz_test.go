package translator_test

import (
	"encoding/json"
	"testing"

	"sluice.dev/sluice/model"
	"sluice.dev/sluice/translator"
)

// FuzzTranslate takes any World: no panic, only valid resources of distinct names, and prev saves work without a trace.
func FuzzTranslate(f *testing.F) {
	for _, w := range []*model.World{world(2), withEndpoint(world(2), 0, 5), {Gateway: model.Gateway{HTTP: ":1", HTTPS: ":1", Local: ":1",
		Certificates: []model.Certificate{{Name: "a", Hosts: []string{"*"}, Chain: "x", Key: "y"}}}}} {
		text, err := json.Marshal(w)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text, text)
	}
	f.Add([]byte(`{"Routes":[{"Key":{"Namespace":"a","Name":"b"},"Rules":[{"Tag":"\u0000","Hosts":["A","*","%s"],"Shares":[{"Percent":-9223372036854775808}]}]},null]}`), []byte(`{"Backends":[null,{"Endpoints":[{"Host":"::","Port":-1}]}]}`))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		var a, b model.World
		if json.Unmarshal(first, &a) != nil || json.Unmarshal(second, &b) != nil {
			t.Skip()
		}
		prev := translator.Translate(&a, nil)
		next := translator.Translate(&b, prev)
		checkBodies(t, prev)
		checkBodies(t, next)
		requireSame(t, translator.Translate(&b, nil), next, "prev shows in the result")
		translator.Diff(prev, next)
		if _, err := next.YAML(); err != nil {
			t.Fatal(err)
		}
	})
}
