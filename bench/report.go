package main

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// report is the outcome of one part.
type report struct {
	title    string
	sections []section
}

// section is a table with what there is to say about it.
type section struct {
	heading string
	text    string // before the table
	header  []string
	rows    [][]string
	chart   *chart
	after   string // after it
}

// thisMachine says where the numbers come from.
func thisMachine() string {
	return fmt.Sprintf("%s, %d cores, %s, %s", cpuModel(), runtime.NumCPU(), runtime.Version(), kernel())
}

// write writes the report to dir/name.md and its charts beside it.
func (r report) write(dir, name, machine string, at time.Time) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "<!-- Written by make bench. -->\n%s\nMeasured on %s: %s.\n", r.markdown(), at.UTC().Format("2 January 2006"), machine)
	var errs []error
	for _, s := range r.sections {
		if s.chart != nil {
			errs = append(errs, os.WriteFile(filepath.Join(dir, s.chart.file), s.chart.svg(), 0o644))
		}
	}
	return errors.Join(append(errs, os.WriteFile(filepath.Join(dir, name+".md"), b.Bytes(), 0o644))...)
}

func (r report) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n", r.title)
	for _, s := range r.sections {
		if s.heading != "" {
			fmt.Fprintf(&b, "## %s\n\n", s.heading)
		}
		if s.text != "" {
			fmt.Fprintf(&b, "%s\n\n", s.text)
		}
		if s.chart != nil {
			fmt.Fprintf(&b, "![%s](%s)\n\n", s.chart.title, s.chart.file)
		}
		if len(s.rows) > 0 {
			fmt.Fprintf(&b, "| %s |\n|%s\n", strings.Join(s.header, " | "), "---|"+strings.Repeat("---:|", len(s.header)-1))
			for _, row := range s.rows {
				fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
			}
			b.WriteByte('\n')
		}
		if s.after != "" {
			fmt.Fprintf(&b, "%s\n\n", s.after)
		}
	}
	return b.String()
}

// goal compares a measured value with what it is to be.
type goal struct {
	name    string
	value   float64
	atLeast bool // otherwise at most
	bound   float64
	unit    string
}

func (g goal) row() []string {
	met, relation := g.value <= g.bound, "at most "
	if g.atLeast {
		met, relation = g.value >= g.bound, "at least "
	}
	verdict := "met"
	if !met {
		verdict = "**missed**"
	}
	return []string{g.name, relation + number(g.bound) + g.unit, number(g.value) + g.unit, verdict}
}

// goals is the section that says what was to be reached.
func goals(list ...goal) section {
	s := section{heading: "Goals", header: []string{"what", "goal", "measured", "verdict"}}
	for _, g := range list {
		s.rows = append(s.rows, g.row())
	}
	return s
}

// number has three digits that count.
func number(v float64) string {
	switch a := math.Abs(v); {
	case a >= 1000:
		return fmt.Sprintf("%.0f", v)
	case a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return strings.TrimSuffix(strings.TrimSuffix(fmt.Sprintf("%.2f", v), "0"), ".0")
	}
}

// median is the middle of values, which it sorts.
func median[T cmp.Ordered](values []T) T {
	slices.Sort(values)
	return values[len(values)/2]
}

// chart is a plot of horizontal bars.
type chart struct {
	file, title, unit string
	bars              []bar
}

type bar struct {
	label string
	value float64
	ours  bool
}

const (
	barHeight  = 18
	barGap     = 10
	labelWidth = 320
	plotWidth  = 420
	chartTop   = 44
)

// svg is plain and has no script. It follows the reader's light or dark theme,
// on a ground of its own.
func (c *chart) svg() []byte {
	largest := 0.0
	for _, x := range c.bars {
		largest = max(largest, x.value)
	}
	width, height := labelWidth+plotWidth+80, chartTop+len(c.bars)*(barHeight+barGap)+barGap
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="%s">
<style>
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600; font-size: 15px }
.ground { fill: #ffffff }
.peer { fill: #8c959f }
.ours { fill: #0969da }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.ground { fill: #0d1117 }
.peer { fill: #6e7681 }
.ours { fill: #2f81f7 }
}
</style>
<rect class="ground" width="%d" height="%d"/>
<text class="title" x="12" y="26">%s</text>
`, width, height, width, height, escape(c.title), width, height, escape(c.title))
	for i, x := range c.bars {
		class := "peer"
		if x.ours {
			class = "ours"
		}
		y, length := chartTop+i*(barHeight+barGap), 0.0
		if largest > 0 {
			length = x.value / largest * plotWidth
		}
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s</text><rect class="%s" x="%d" y="%d" width="%.1f" height="%d" rx="2"/><text x="%.1f" y="%d">%s</text>
`, labelWidth-8, y+barHeight-4, escape(x.label), class, labelWidth, y, length, barHeight,
			labelWidth+length+6, y+barHeight-4, escape(number(x.value)+c.unit))
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

func escape(s string) string {
	var b strings.Builder
	// A strings.Builder never fails.
	_ = xml.EscapeText(&b, []byte(s))
	return b.String()
}
