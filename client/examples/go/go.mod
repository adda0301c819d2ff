module impasto-example

go 1.19
