// Command generate compiles externalscaler.proto and has the plugins of protobuf and gRPC write its Go code. It is a module of its own, so
// that Sluice does not depend on a compiler, and generating needs nothing but Go.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

// plugins are those of the modules that this one requires, by their packages.
var plugins = []string{"google.golang.org/protobuf/cmd/protoc-gen-go", "google.golang.org/grpc/cmd/protoc-gen-go-grpc"}

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: generate FILE.proto")
	}
	if err := generate(os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

// generate writes the code beside the file.
func generate(path string) error {
	dir, name := filepath.Split(path)
	compiler := protocompile.Compiler{
		Resolver:       &protocompile.SourceResolver{ImportPaths: []string{dir}},
		SourceInfoMode: protocompile.SourceInfoStandard, // comments
	}
	files, err := compiler.Compile(context.Background(), name)
	if err != nil {
		return fmt.Errorf("compiling %s: %w", path, err)
	}
	request, err := proto.Marshal(&pluginpb.CodeGeneratorRequest{
		FileToGenerate: []string{name}, Parameter: proto.String("paths=source_relative"),
		ProtoFile: []*descriptorpb.FileDescriptorProto{protodesc.ToFileDescriptorProto(files[0])},
	})
	if err != nil {
		return err
	}
	for _, plugin := range plugins {
		answer, err := run(plugin, request)
		if err != nil {
			return fmt.Errorf("running %s: %w", plugin, err)
		}
		for _, f := range answer.File {
			if err := os.WriteFile(filepath.Join(dir, f.GetName()), []byte(f.GetContent()), 0o644); err != nil { //nolint:gosec // source code
				return err
			}
		}
	}
	return nil
}

func run(plugin string, request []byte) (*pluginpb.CodeGeneratorResponse, error) {
	command := exec.Command("go", "run", plugin)
	command.Stdin, command.Stderr = bytes.NewReader(request), os.Stderr
	output, err := command.Output()
	if err != nil {
		return nil, err
	}
	answer := &pluginpb.CodeGeneratorResponse{}
	if err := proto.Unmarshal(output, answer); err != nil {
		return nil, err
	}
	if answer.Error != nil {
		return nil, errors.New(answer.GetError())
	}
	return answer, nil
}
