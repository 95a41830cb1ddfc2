// Package tree prints an Explanation as text: the verdict, and the chain as a tree. It must not decide what is broken: package explain
// does.
package tree

import (
	"fmt"
	"io"
	"strings"

	"sluice.dev/sluice/explain"
)

// tone is the colour of a line.
type tone int

const (
	plain tone = iota
	good
	bad
	faint
)

// colours are escape sequences by tone.
var colours = map[tone]string{good: "\x1b[32m", bad: "\x1b[31m", faint: "\x1b[2m"}

// node is a line with the lines below it.
type node struct {
	text  string
	tone  tone
	below []*node
}

func (n *node) add(t tone, format string, args ...any) *node {
	child := &node{text: fmt.Sprintf(format, args...), tone: t}
	n.below = append(n.below, child)
	return child
}

// Write prints e to w, with colours where they are wanted.
func Write(w io.Writer, e *explain.Explanation, colour bool) error {
	p := &printer{colour: colour}
	verdict := &node{text: e.Verdict + ".", tone: good}
	if strings.HasSuffix(e.Verdict, "?") {
		verdict.text = e.Verdict
	}
	if len(e.Broken) > 0 {
		verdict.tone = bad
	}
	p.line("", verdict)
	for _, root := range chain(e).below {
		p.text.WriteByte('\n')
		p.line("", root)
		p.children(root, "")
	}
	if len(e.Broken) > 1 {
		p.text.WriteString("\nBroken links\n")
		for i, l := range e.Broken {
			p.line(fmt.Sprintf("%3d. ", i+1), &node{text: l.Message + "."})
		}
	}
	_, err := io.WriteString(w, p.text.String())
	return err
}

type printer struct {
	text   strings.Builder
	colour bool
}

func (p *printer) line(prefix string, n *node) {
	p.text.WriteString(prefix)
	if code := colours[n.tone]; p.colour && code != "" {
		p.text.WriteString(code + n.text + "\x1b[0m")
	} else {
		p.text.WriteString(n.text)
	}
	p.text.WriteByte('\n')
}

func (p *printer) children(n *node, indent string) {
	for i, child := range n.below {
		branch, beneath := "├─ ", "│  "
		if i == len(n.below)-1 {
			branch, beneath = "└─ ", "   "
		}
		p.line(indent+branch, child)
		p.children(child, indent+beneath)
	}
}
