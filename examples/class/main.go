// Command class is an autoscaler for revisions of the class lines.example.com: each gets as many replicas as a file has lines, such as a
// list of work. It uses Kubernetes' own client and nothing of Sluice: it writes the subresource scale of the RevisionScale that each such
// revision has. An empty file means zero; the next request still starts a replica.
//
//	KUBECONFIG=.sluice/kubeconfig go run ./examples/class --file work.txt
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"
)

const class = "lines.example.com"

var scales = schema.GroupVersionResource{Group: "autoscaling.sluice.dev", Version: "v1alpha1", Resource: "revisionscales"}

func main() {
	file := flag.String("file", "work.txt", "file whose lines are counted")
	every := flag.Duration("every", time.Second, "time between two looks at the file")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		log.Fatal(err)
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		log.Fatal(err)
	}
	for ctx.Err() == nil {
		if err := scaleAll(ctx, client, *file); err != nil {
			log.Print(err) // the next look may do better; until then the replicas stay
		}
		select {
		case <-ctx.Done():
		case <-time.After(*every):
		}
	}
}

// scaleAll gives each revision of the class as many replicas as the file has lines.
func scaleAll(ctx context.Context, client dynamic.Interface, file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	want := int64(bytes.Count(text, []byte("\n")))
	all, err := client.Resource(scales).List(ctx, metav1.ListOptions{FieldSelector: "spec.class=" + class})
	if err != nil {
		return err
	}
	for _, s := range all.Items {
		have, _, err := unstructured.NestedInt64(s.Object, "spec", "replicas")
		if err != nil || have == want {
			continue
		}
		patch := fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, want)
		of := client.Resource(scales).Namespace(s.GetNamespace())
		if _, err := of.Patch(ctx, s.GetName(), types.MergePatchType, patch, metav1.PatchOptions{}, "scale"); err != nil {
			return err
		}
		log.Printf("%s/%s: from %d to %d", s.GetNamespace(), s.GetName(), have, want)
	}
	return nil
}
