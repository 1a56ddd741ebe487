package main

import (
	"debug/buildinfo"
	"fmt"
	"os"
	"path/filepath"

	"github.com/CycloneDX/cyclonedx-go"
)

// describe writes a bill of materials beside each binary: the modules that it was
// built from, as the binary itself says (CycloneDX 1.6, JSON). It has no time and no
// serial number, so that the same commit gives the same bytes.
func describe(dir string, built []binary) error {
	for _, b := range built {
		info, err := buildinfo.ReadFile(filepath.Join(dir, b.File))
		if err != nil {
			return fmt.Errorf("release: %w", err)
		}
		bom := materials(b, info)
		file, err := os.Create(filepath.Join(dir, b.File+".cdx.json"))
		if err != nil {
			return fmt.Errorf("release: %w", err)
		}
		encoder := cyclonedx.NewBOMEncoder(file, cyclonedx.BOMFileFormatJSON).SetPretty(true)
		if err := encoder.EncodeVersion(bom, cyclonedx.SpecVersion1_6); err != nil {
			return fmt.Errorf("release: %s: %w", file.Name(), err)
		}
		if err := file.Close(); err != nil {
			return fmt.Errorf("release: %w", err)
		}
	}
	return nil
}

// materials returns the bill of one binary.
func materials(b binary, info *buildinfo.BuildInfo) *cyclonedx.BOM {
	components := []cyclonedx.Component{{
		Type: cyclonedx.ComponentTypeLibrary, Name: "std", Version: info.GoVersion,
		BOMRef: "pkg:golang/std@" + info.GoVersion, PackageURL: "pkg:golang/std@" + info.GoVersion,
	}}
	for _, module := range info.Deps {
		if module.Replace != nil {
			module = module.Replace
		}
		url := "pkg:golang/" + module.Path + "@" + module.Version
		components = append(components, cyclonedx.Component{
			Type: cyclonedx.ComponentTypeLibrary, Name: module.Path, Version: module.Version, BOMRef: url, PackageURL: url,
		})
	}
	bom := cyclonedx.NewBOM()
	bom.Metadata = &cyclonedx.Metadata{Component: &cyclonedx.Component{
		Type: cyclonedx.ComponentTypeApplication, Name: b.Program, Version: info.Main.Version, BOMRef: b.Program,
	}}
	bom.Components = &components
	return bom
}
