// raii.cpp - swin.h in C++17: the model frees itself, errors are exceptions, no layer on top
//
//     c++ -std=c++17 -O2 examples/raii.cpp -lm -o raii && ./raii weights/street.swin

#define SWIN_IMPLEMENTATION
#include "../swin.h"

#include <cstdio>
#include <exception>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

using model_ptr = std::unique_ptr<swin_model, decltype(&swin_free)>;

static model_ptr load(const char *path)
{
    swin_error error;
    model_ptr model(swin_load(path, &error), swin_free);
    return model ? std::move(model) : throw std::runtime_error(error.text);
}

static std::vector<uint8_t> segment(swin_model &model, const uint8_t *rgb, int w, int h)
{
    std::vector<uint8_t> classes(static_cast<size_t>(w) * static_cast<size_t>(h));
    if (swin_error error; swin_segment(&model, rgb, w, h, classes.data(), &error))
        throw std::runtime_error(error.text);
    return classes;
}

int main(int argc, char **argv)
try {
    constexpr int w = 480, h = 360;
    std::vector<uint8_t> rgb(w * h * 3);
    swin_reference_picture(rgb.data(), w, h, 1);
    const model_ptr model = load(argc > 1 ? argv[1] : "weights/street.swin");
    const std::vector<uint8_t> classes = segment(*model, rgb.data(), w, h);
    std::printf("the middle of the picture is %s\n",
                swin_class_name(model.get(), classes[h / 2 * w + w / 2]));
} catch (const std::exception &error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
}
